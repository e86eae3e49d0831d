// SPDX-License-Identifier: BSL-1.0
/// \file
/// What an attachment keeps of the importer's on_invalidate or on_revoke.
#pragma once

#include <concepts>
#include <cstddef>
#include <new>
#include <type_traits>

#include <paddock/fence/fence.hpp>
#include <paddock/resv/reservation.hpp>

namespace PADDOCK_NAMESPACE::detail {

/// The importer's on_invalidate or on_revoke: a callable of at most two words, such as a lambda that captures `this`.
template <class Attachment, class Answer>
class importer_hook {
 public:
  importer_hook() noexcept = default;
  template <class Hook>
  explicit importer_hook(Hook hook) noexcept {
    static_assert(
        std::is_trivially_copyable_v<Hook> && sizeof(Hook) <= sizeof(room_) && alignof(Hook) <= alignof(void*),
        "paddock: a hook is kept in the attachment, so it has at most two words that can be copied as they "
        "are: capture this, or a pointer to what is larger");
    static_assert(std::is_nothrow_invocable_v<Hook&, Attachment&, const resv_lock&>,
                  "paddock: a hook is called as hook(attachment&, resv_lock const&), and is noexcept");
    ::new (static_cast<void*>(room_)) Hook(hook);
    call_ = [](std::byte* room, Attachment& who, const resv_lock& held) noexcept -> Answer {
      Hook& kept = *std::launder(reinterpret_cast<Hook*>(room));
      using returned = std::invoke_result_t<Hook&, Attachment&, const resv_lock&>;
      if constexpr (std::is_void_v<returned> && !std::is_void_v<Answer>) {
        kept(who, held);
        return Answer();
      } else {
        static_assert(std::is_void_v<Answer> || std::convertible_to<returned, Answer>,
                      "paddock: on_invalidate returns jobs, or nothing for jobs::wait()");
        return kept(who, held);
      }
    };
  }

  explicit operator bool() const noexcept { return call_ != nullptr; }
  Answer operator()(Attachment& who, const resv_lock& held) noexcept { return call_(room_, who, held); }

 private:
  alignas(void*) std::byte room_[2 * sizeof(void*)]{};
  Answer (*call_)(std::byte*, Attachment&, const resv_lock&) noexcept {nullptr};
};
struct no_hook {};
struct no_jobs {
  [[nodiscard]] static bool awaits(const fence&) noexcept { return true; }
};

}  // namespace PADDOCK_NAMESPACE::detail
