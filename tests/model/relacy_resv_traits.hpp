// SPDX-License-Identifier: BSL-1.0
/// \file
/// What the cores of the reservations run on inside the Relacy Race Detector, on top of what the fences' cores do.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include <paddock/base/time.hpp>
#include <paddock/resv/orders.hpp>
#include <paddock/resv/reader_domain.hpp>

#include <relacy_traits.hpp>

namespace paddock::model {

/// The tables of resv/orders.hpp.
struct model_lock_orders {
#define PADDOCK_MODEL_ORDER(NAME) \
  static inline named_order NAME { "lock_" #NAME, detail::lock_orders::NAME }
  PADDOCK_MODEL_ORDER(take);
  PADDOCK_MODEL_ORDER(leave);
  PADDOCK_MODEL_ORDER(see);
  PADDOCK_MODEL_ORDER(turn_look);
  PADDOCK_MODEL_ORDER(turn);
  PADDOCK_MODEL_ORDER(clear);
  PADDOCK_MODEL_ORDER(waiting);
  PADDOCK_MODEL_ORDER(look);
  PADDOCK_MODEL_ORDER(stamp);
#undef PADDOCK_MODEL_ORDER
};
struct model_reader_orders {
#define PADDOCK_MODEL_ORDER(NAME) \
  static inline named_order NAME { "reader_" #NAME, detail::reader_orders::NAME }
  PADDOCK_MODEL_ORDER(enter);
  PADDOCK_MODEL_ORDER(exit);
  PADDOCK_MODEL_ORDER(scan);
  PADDOCK_MODEL_ORDER(epoch_look);
  PADDOCK_MODEL_ORDER(epoch);
  PADDOCK_MODEL_ORDER(join);
  PADDOCK_MODEL_ORDER(records);
  PADDOCK_MODEL_ORDER(crowd);
  PADDOCK_MODEL_ORDER(guess);
#undef PADDOCK_MODEL_ORDER
};
struct model_list_orders {
#define PADDOCK_MODEL_ORDER(NAME) \
  static inline named_order NAME { "list_" #NAME, detail::list_orders::NAME }
  PADDOCK_MODEL_ORDER(publish);
  PADDOCK_MODEL_ORDER(see);
  PADDOCK_MODEL_ORDER(own);
#undef PADDOCK_MODEL_ORDER
};

struct relacy_resv_traits;

/// What the model keeps of all threads of one run, and how that run is to be.
struct resv_state {
  static constexpr unsigned never = ~0U;
  struct thread {
    detail::reader_record<relacy_resv_traits>* record{nullptr};
    bool is_in_crowd{false};   ///< It gets no record.
    unsigned patience{never};  ///< It is promised a lock after so many sleeps.
  };
  std::array<thread, most_threads> threads{};
  std::array<detail::reader_record<relacy_resv_traits>*, most_threads> made{};  ///< By all of them, to be freed.
  std::uint64_t stamps{0};
  bool equal_stamps{false};
  bool asymmetric{false};
};
inline constinit resv_state present_resv{};

/// The traits of the model.
struct relacy_resv_traits : relacy_traits {
  using lock_order = model_lock_orders;
  using reader_order = model_reader_orders;
  using list_order = model_list_orders;

  static constexpr unsigned lock_spins = 0;
  static constexpr std::uint32_t retired_before_collection = 1;

  static void pause(rl::debug_info where = here()) { rl::ctx().yield(1, where); }

  /// The lock keeps a bit below it.
  [[nodiscard]] static std::uintptr_t self() { return relacy_traits::self() * 4; }

  [[nodiscard]] static bool is_patient(unsigned sleeps) {
    return sleeps >= present_resv.threads[rl::thread_index()].patience;
  }

  [[nodiscard]] static std::uint64_t stamp() noexcept { return present_resv.equal_stamps ? 1 : ++present_resv.stamps; }

  /// The pair in its two forms: both of them fences; or nothing, and a fence of all threads at once.
  static bool register_heavy_fence() noexcept { return present_resv.asymmetric; }
  static void light_fence(bool asymmetric, rl::debug_info where = here()) {
    if (!asymmetric && present_damage != damage::no_light_fence) {
      rl::atomic_thread_fence(rl::mo_seq_cst, where);
    }
  }
  [[nodiscard]] static bool heavy_fence(bool asymmetric, rl::debug_info where = here()) {
    if (present_damage == damage::no_heavy_fence) {
      return true;
    }
    if (asymmetric) {
      rl::ctx().sched();
      rl::systemwide_fence(where);
    } else {
      rl::atomic_thread_fence(rl::mo_seq_cst, where);
    }
    return true;
  }
  static void full_fence(rl::debug_info where = here()) {
    const std::string_view caller = where.func_;
    if ((present_damage == damage::no_fence_in_join && caller == "join") ||
        (present_damage == damage::no_fence_in_stamp && caller == "stamp") ||
        (present_damage == damage::no_fence_in_enter && caller == "enter")) {
      return;
    }
    rl::atomic_thread_fence(rl::mo_seq_cst, where);
  }

  /// One domain a run.
  [[nodiscard]] static detail::reader_record<relacy_resv_traits>* record_in(
      detail::reader_domain<relacy_resv_traits>& domain) {
    resv_state::thread& own = present_resv.threads[rl::thread_index()];
    if (own.record == nullptr && !own.is_in_crowd) {
      own.record = join(domain);
    }
    return own.record;
  }
  /// A record that free_records() frees.
  [[nodiscard]] static detail::reader_record<relacy_resv_traits>* join(
      detail::reader_domain<relacy_resv_traits>& domain) {
    detail::reader_record<relacy_resv_traits>* const joined = domain.join();
    auto* const place = std::find_if(present_resv.made.begin(), present_resv.made.end(),
                                     [&](const auto* each) { return each == nullptr || each == joined; });
    *place = joined;
    return joined;
  }
  /// The calling thread ends, as far as the domain knows.
  static void part() {
    resv_state::thread& own = present_resv.threads[rl::thread_index()];
    detail::reader_domain<relacy_resv_traits>::part(own.record);
    own.record = nullptr;
  }

  /// After each run: the library keeps them for ever.
  static void free_records() {
    for (auto*& each : present_resv.made) {
      delete each;
      each = nullptr;
    }
  }
};

}  // namespace paddock::model
