// SPDX-License-Identifier: BSL-1.0
/// \file
/// The subject itself, under the verbs that all events here have.
#pragma once

#include <paddock/fence/context.hpp>
#include <paddock/fence/wait.hpp>

#include "called.hpp"

namespace paddock::bench {

[[nodiscard]] inline fence_context& context() {
  static fence_context made("bench", std::chrono::seconds(1));
  return made;
}

template <timestamp_policy Timestamp = no_timestamp, wait_policy Wait = hybrid_wait>
class paddock_fence {
 public:
  class node : public fence_callback {
   public:
    node() noexcept : fence_callback(&run) {}

   private:
    static void run(fence_callback&, const fence_outcome&) noexcept { count_call{}(); }
  };

  explicit paddock_fence(const fence_context& made_by = context()) noexcept : fence_(made_by) {}

  [[nodiscard]] bool is_signaled() const noexcept { return fence_.is_signaled(); }
  void signal() noexcept {
    if constexpr (std::same_as<Timestamp, given_timestamp>) {
      fence_.signal(given_timestamp(monotonic_clock::time_point(std::chrono::seconds(1))));
    } else {
      fence_.signal(Timestamp{});
    }
  }
  /// Without a look at how it ended, which the others have no word for.
  void wait() noexcept { static_cast<void>(paddock::wait(fence_, deadline::never(), Wait{})); }
  bool add(node& added) noexcept { return fence_.add_callback(added) == add_outcome::added; }
  void remove(node& gone) noexcept { fence_.remove_callback(gone); }

 private:
  struct in_place final : fence {
    explicit in_place(const fence_context& made_by) noexcept : fence(made_by, fence_seqno(1)) {}
  };
  in_place fence_;
};

}  // namespace paddock::bench
