// SPDX-License-Identifier: BSL-1.0
/// \file
/// What the cores of the reservations run on outside the verifier, on top of what the fences' cores do.
#pragma once

#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdint>

#include <paddock/base/uapi/membarrier.hpp>
#include <paddock/detail/futex.hpp>
#include <paddock/detail/tsc.hpp>
#include <paddock/fence/traits.hpp>
#include <paddock/resv/orders.hpp>
#include <paddock/resv/reader_domain.hpp>

namespace PADDOCK_NAMESPACE::detail {

struct std_resv_traits : std_traits {
  using lock_order = lock_orders;
  using reader_order = reader_orders;
  using list_order = list_orders;

  /// How often a thread looks again before it sleeps: some microseconds, as jobs are recorded in.
  static constexpr unsigned lock_spins = 128;
  /// Whether who slept so often is promised the lock.
  [[nodiscard]] static bool is_patient(unsigned sleeps) noexcept { return sleeps >= 4; }
  /// A fence that left a list waits at most for so many others: what a barrier for all threads costs is shared by them.
  static constexpr std::uint32_t retired_before_collection = 64;

  static void pause() noexcept { spin_pause(); }

  /// The age of a context: no counter that all threads share, and the same on all cores.
  [[nodiscard]] static std::uint64_t stamp() noexcept { return read_ticks() | 1U; }

  /// Whether heavy_fence() makes a full fence of every thread's light_fence().
  static bool register_heavy_fence() noexcept {
    return ::syscall(SYS_membarrier, uapi::membarrier_register_private_expedited, 0, 0) == 0;
  }
  static void light_fence(bool asymmetric) noexcept {
    if (asymmetric) [[likely]] {
      std::atomic_signal_fence(std::memory_order_seq_cst);
    } else {
      full_fence();
    }
  }
  /// False: it could not be had, as where a sandbox forbids the call that was allowed before.
  [[nodiscard]] static bool heavy_fence(bool asymmetric) noexcept {
    if (!asymmetric) {
      full_fence();
      return true;
    }
    const auto fence = []() noexcept {
      return ::syscall(SYS_membarrier, uapi::membarrier_private_expedited, 0, 0) == 0;
    };
    // A process that forked may have to register anew.
    return fence() || (register_heavy_fence() && fence());
  }
  static void full_fence() noexcept {
    // std::atomic_thread_fence would be the same, but g++ warns of it under ThreadSanitizer, which does not follow
    // fences, and need not here: what they decide is a question of time, what is seen comes by acquire and release.
    __sync_synchronize();
  }

  /// The calling thread's record, made at its first call. Null: there is none to be had.
  [[nodiscard]] static reader_record<std_resv_traits>* record_in(reader_domain<std_resv_traits>& domain) noexcept {
    const membership& last = last_used();
    return last.domain == domain.id() ? last.record : find_record(domain);
  }

 private:
  /// A domain is known by its number: the address of one in a shared object that is gone may come back.
  struct membership {
    std::uint64_t domain{0};
    reader_record<std_resv_traits>* record{nullptr};
  };
  /// One domain a shared object with reservations: a thread that reads those of more is in the crowd of the others.
  struct memberships {
    memberships() noexcept = default;
    memberships(const memberships&) = delete;
    memberships& operator=(const memberships&) = delete;
    ~memberships() {
      last_used() = {};
      is_over() = true;
      for (const membership& each : all) {
        if (each.record != nullptr) {
          reader_domain<std_resv_traits>::part(each.record);
        }
      }
    }
    std::array<membership, 8> all{};
  };

  /// Whether the thread's memberships are gone. It outlives them: other destructors of the thread may read.
  [[nodiscard]] static bool& is_over() noexcept {
    static thread_local constinit bool over = false;
    return over;
  }

  /// Without a destructor, so that access to it is plain.
  [[nodiscard]] static membership& last_used() noexcept {
    static thread_local constinit membership last;
    return last;
  }
  [[gnu::noinline]] static reader_record<std_resv_traits>* find_record(
      reader_domain<std_resv_traits>& domain) noexcept {
    if (is_over()) {
      return nullptr;
    }
    static thread_local memberships own;
    for (membership& each : own.all) {
      if (each.domain == 0) {
        each = {domain.id(), domain.join()};
      }
      if (each.domain == domain.id()) {
        if (each.record == nullptr) {
          each.record = domain.join();
        }
        if (each.record != nullptr) {
          last_used() = each;
        }
        return each.record;
      }
    }
    return nullptr;
  }
};

}  // namespace PADDOCK_NAMESPACE::detail
