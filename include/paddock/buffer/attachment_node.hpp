// SPDX-License-Identifier: BSL-1.0
/// \file
/// What a buffer asks of its attachments, whatever their devices and policies are.
#pragma once

#include <span>
#include <string>

#include <boost/intrusive/list.hpp>

#include <paddock/base/ids.hpp>
#include <paddock/buffer/jobs.hpp>
#include <paddock/buffer/route_choice.hpp>
#include <paddock/buffer/segment.hpp>
#include <paddock/resv/reservation.hpp>

namespace PADDOCK_NAMESPACE {

/// What there is to say of an attachment, for people.
struct attachment_facts {
  std::string device{};             ///< As it calls itself; empty when it does not.
  const char* residency{"pinned"};  ///< The policy, or which one of paddock's may do as much.
  direction use{direction::bidirectional};
  unsigned pins{0};
  bool bounces{false};  ///< It works on a copy.
};

namespace detail {

/// An attachment as its buffer sees it. All is called with the reservation held.
class attachment_node : public boost::intrusive::list_base_hook<> {
 public:
  attachment_node() noexcept = default;
  attachment_node(const attachment_node&) = delete;
  attachment_node& operator=(const attachment_node&) = delete;

  /// The storage is about to move. Whoever cannot be told is pinned, and then it does not move.
  [[nodiscard]] virtual jobs tell_invalidated(const resv_lock& held) noexcept = 0;
  /// The storage goes, for good as far as this attachment is concerned.
  virtual void tell_revoked(const resv_lock& held) noexcept = 0;
  /// The storage has moved: what is mapped is of the old one.
  virtual void set_stale() noexcept = 0;
  /// Takes the mappings away from the device. `all`: also those that the importer has not given back yet.
  virtual void end_mappings(const resv_lock& held, bool all) noexcept = 0;
  /// Takes what is mapped from before a move away from the device.
  virtual void end_stale(const resv_lock& held) noexcept = 0;
  [[nodiscard]] virtual bool has_mappings() const noexcept = 0;
  /// Whether it would be content with such storage, by its routes and its policy.
  [[nodiscard]] virtual route_choice accepts(std::span<const segment> where) const noexcept = 0;
  /// Whether it was attached for good: it can bear no revocation.
  [[nodiscard]] virtual bool is_unrevocable() const noexcept = 0;
  [[nodiscard]] virtual attachment_facts facts() const = 0;

 protected:
  ~attachment_node() = default;
};

}  // namespace detail
}  // namespace PADDOCK_NAMESPACE
