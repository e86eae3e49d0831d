// SPDX-License-Identifier: BSL-1.0
/// \file
/// What went wrong, as a value: `errc` says which situation, `error` adds the errno and the call it came from.
/// The translation from errno lives in errno_table.hpp and nowhere else.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <system_error>
#include <type_traits>

#include <fmt/format.h>

#include <paddock/version.hpp>

namespace PADDOCK_NAMESPACE {

/// The situations that paddock tells apart. Every code asks for a different reaction by the caller.
enum class errc : std::uint16_t {
  invalid_argument = 1,     ///< The call can never succeed with these arguments.
  misaligned,               ///< An address, offset or length is not a multiple of the page that the kernel demands.
  out_of_range,             ///< Offset and length leave the object, or their sum overflows.
  bad_fd,                   ///< Not an open file descriptor, or one of another kind than the call needs.
  not_found,                ///< No such device, heap, point or file.
  already_exists,           ///< The range or the name is taken.
  busy,                     ///< Somebody else holds it; it may become free.
  permission,               ///< The object exists, and this process may not use it.
  out_of_memory,            ///< The kernel or the allocator had no memory.
  limit_reached,            ///< A configured limit (FDs, locked memory, IOMMU entries) is used up.
  bad_address,              ///< The kernel cannot use this memory: not mapped, or of a kind that it cannot pin.
  unsupported_by_kernel,    ///< This kernel does not have the interface.
  unsupported_by_device,    ///< The kernel has the interface, the device or its driver does not.
  unsupported_by_platform,  ///< No IOMMU, or another part of the machine is missing.
  timed_out,                ///< The deadline passed first.
  interrupted,              ///< A signal arrived, and retrying is the caller's decision.
  canceled,                 ///< The work was given up by its owner before it completed.
  abandoned,                ///< A fence was dropped by whoever should have signaled it.
  no_device,                ///< The device is gone, or going.
  io,                       ///< The device tried and reported a failure.
  revoked,                  ///< The storage was taken back; the mapping will not come back to life.
  shared,                   ///< Another process holds the buffer, so it cannot be moved.
  disconnected,             ///< The other process is gone, or has closed its end.
  wrong_lock,               ///< The proof of locking belongs to another reservation.
  deadlock,                 ///< Waiting for this lock might never end: let go of the others, and take this one first.
  already_locked,           ///< The caller has this lock.
  not_reserved,             ///< No room was reserved for it.
  not_exportable,           ///< The object has no form that another process could receive.
  not_submitted,            ///< The point exists, but no work was submitted for it yet.
  reentrant,                ///< Called from inside one of its own callbacks.
  not_viable,               ///< An IOMMU group has members that are not bound to VFIO.
  not_bound,                ///< The device is bound to another driver, or to none.
  not_mappable,             ///< The CPU or the device cannot map this storage at all.
  unreachable,              ///< No peer-to-peer route leads from this client to that provider.
  unexpected,               ///< An errno that the interface does not document.
};

/// A short name of the code, as it is spelled in the source. Returns "unknown" for a value outside the enumeration.
[[nodiscard]] constexpr const char* name(errc code) noexcept;

/// An error as a value: what happened, the errno behind it (0 when paddock found it itself), and the call or the
/// rule that reported it. `where` points to a string literal: it outlives everything and is never freed.
struct error {
  errc code{errc::unexpected};
  int sys_errno{0};
  const char* where{""};

  /// Two errors are equal when their code and errno are; `where` is for people.
  friend constexpr bool operator==(const error& a, const error& b) noexcept {
    return a.code == b.code && a.sys_errno == b.sys_errno;
  }
  friend constexpr bool operator==(const error& a, errc b) noexcept { return a.code == b; }
};

static_assert(std::is_trivially_copyable_v<error>);

constexpr const char* name(errc code) noexcept {
  switch (code) {
    case errc::invalid_argument: return "invalid_argument";
    case errc::misaligned: return "misaligned";
    case errc::out_of_range: return "out_of_range";
    case errc::bad_fd: return "bad_fd";
    case errc::not_found: return "not_found";
    case errc::already_exists: return "already_exists";
    case errc::busy: return "busy";
    case errc::permission: return "permission";
    case errc::out_of_memory: return "out_of_memory";
    case errc::limit_reached: return "limit_reached";
    case errc::bad_address: return "bad_address";
    case errc::unsupported_by_kernel: return "unsupported_by_kernel";
    case errc::unsupported_by_device: return "unsupported_by_device";
    case errc::unsupported_by_platform: return "unsupported_by_platform";
    case errc::timed_out: return "timed_out";
    case errc::interrupted: return "interrupted";
    case errc::canceled: return "canceled";
    case errc::abandoned: return "abandoned";
    case errc::no_device: return "no_device";
    case errc::io: return "io";
    case errc::revoked: return "revoked";
    case errc::shared: return "shared";
    case errc::disconnected: return "disconnected";
    case errc::wrong_lock: return "wrong_lock";
    case errc::deadlock: return "deadlock";
    case errc::already_locked: return "already_locked";
    case errc::not_reserved: return "not_reserved";
    case errc::not_exportable: return "not_exportable";
    case errc::not_submitted: return "not_submitted";
    case errc::reentrant: return "reentrant";
    case errc::not_viable: return "not_viable";
    case errc::not_bound: return "not_bound";
    case errc::not_mappable: return "not_mappable";
    case errc::unreachable: return "unreachable";
    case errc::unexpected: return "unexpected";
  }
  return "unknown";
}

namespace detail {

/// Compared by name, not by address: two plugins with hidden visibility have two objects, and mean one category.
class error_category final : public std::error_category {
 public:
  [[nodiscard]] const char* name() const noexcept override { return "paddock"; }
  [[nodiscard]] std::string message(int value) const override { return paddock::name(static_cast<errc>(value)); }
  [[nodiscard]] bool equivalent(const std::error_code& code, int condition) const noexcept override {
    return code.value() == condition && std::strcmp(code.category().name(), "paddock") == 0;
  }
};

inline const error_category& category() noexcept {
  static const error_category instance;
  return instance;
}

}  // namespace detail

/// For std::error_code(error); the errno and the call are not carried over.
[[nodiscard]] inline std::error_code make_error_code(const error& e) noexcept {
  return {static_cast<int>(e.code), detail::category()};
}
[[nodiscard]] inline std::error_code make_error_code(errc code) noexcept {
  return {static_cast<int>(code), detail::category()};
}

/// For `error_code == errc::revoked`, which also holds for a code that another plugin made.
[[nodiscard]] inline std::error_condition make_error_condition(errc code) noexcept {
  return {static_cast<int>(code), detail::category()};
}

}  // namespace PADDOCK_NAMESPACE

template <>
struct std::is_error_condition_enum<paddock::errc> : std::true_type {};

/// "revoked (VFIO_IOMMU_MAP_DMA: No such device)", or without the errno when there is none.
template <>
struct fmt::formatter<paddock::error> {
  constexpr auto parse(format_parse_context& context) { return context.begin(); }

  template <class Context>
  auto format(const paddock::error& e, Context& context) const {
    if (e.sys_errno == 0) {
      return fmt::format_to(context.out(), "{} ({})", name(e.code), e.where);
    }
    return fmt::format_to(context.out(), "{} ({}: {})", name(e.code), e.where,
                          std::generic_category().message(e.sys_errno));
  }
};

template <>
struct fmt::formatter<paddock::errc> : fmt::formatter<const char*> {
  template <class Context>
  auto format(paddock::errc code, Context& context) const {
    return fmt::formatter<const char*>::format(paddock::name(code), context);
  }
};
