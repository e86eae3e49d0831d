// SPDX-License-Identifier: BSL-1.0
/// \file
/// What the cores of the fence room run on inside the Relacy Race Detector: its atomics, threads and scheduler in place
/// of std::atomic, pthreads and futexes. Every access is a step that the scheduler may interrupt.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include <paddock/base/time.hpp>
#include <paddock/fence/core.hpp>
#include <paddock/fence/orders.hpp>

// After our headers: it defines macros of words that they use.
#pragma push_macro("assert")
#pragma push_macro("errno")
#include <relacy/relacy.hpp>
#pragma pop_macro("errno")
#pragma pop_macro("assert")
#undef new
#undef delete
#undef malloc
#undef calloc
#undef realloc
#undef free
#undef memory_order_relaxed
#undef memory_order_consume
#undef memory_order_acquire
#undef memory_order_release
#undef memory_order_acq_rel
#undef memory_order_seq_cst

namespace paddock::model {

/// A memory order that is weaker in some runs than the library has it.
class named_order {
 public:
  named_order(const char* name, std::memory_order order) noexcept
      : name_(name), real_(order), used_(order), next_(first_) {
    first_ = this;
  }
  operator std::memory_order() const noexcept { return used_; }

  [[nodiscard]] const char* name() const noexcept { return name_; }
  [[nodiscard]] std::memory_order real() const noexcept { return real_; }
  void use(std::memory_order order) noexcept { used_ = order; }

  [[nodiscard]] static named_order* first() noexcept { return first_; }
  [[nodiscard]] named_order* next() const noexcept { return next_; }

 private:
  const char* name_;
  std::memory_order real_;
  std::memory_order used_;
  named_order* next_;
  static inline constinit named_order* first_ = nullptr;
};

/// The tables of fence/orders.hpp, each order of which can be weakened. One that is missing here does not compile.
struct model_orders {
#define PADDOCK_MODEL_ORDER(NAME) \
  static inline named_order NAME { #NAME, detail::fence_orders::NAME }
  PADDOCK_MODEL_ORDER(status);
  PADDOCK_MODEL_ORDER(complete);
  PADDOCK_MODEL_ORDER(complete_look);
  PADDOCK_MODEL_ORDER(add);
  PADDOCK_MODEL_ORDER(queue);
  PADDOCK_MODEL_ORDER(add_look);
  PADDOCK_MODEL_ORDER(remove_look);
  PADDOCK_MODEL_ORDER(remove_alone);
  PADDOCK_MODEL_ORDER(lock_list);
  PADDOCK_MODEL_ORDER(unlock_list);
  PADDOCK_MODEL_ORDER(settle);
  PADDOCK_MODEL_ORDER(claim);
  PADDOCK_MODEL_ORDER(done);
  PADDOCK_MODEL_ORDER(link);
  PADDOCK_MODEL_ORDER(get);
  PADDOCK_MODEL_ORDER(put);
  PADDOCK_MODEL_ORDER(put_look);
#undef PADDOCK_MODEL_ORDER
};

struct model_slot_orders {
#define PADDOCK_MODEL_ORDER(NAME) \
  static inline named_order NAME { "slot_" #NAME, detail::slot_orders::NAME }
  PADDOCK_MODEL_ORDER(borrow);
  PADDOCK_MODEL_ORDER(replaced);
  PADDOCK_MODEL_ORDER(give_back);
  PADDOCK_MODEL_ORDER(publish);
  PADDOCK_MODEL_ORDER(slot_look);
#undef PADDOCK_MODEL_ORDER
};
struct model_array_orders {
#define PADDOCK_MODEL_ORDER(NAME) \
  static inline named_order NAME { "array_" #NAME, detail::array_orders::NAME }
  PADDOCK_MODEL_ORDER(added);
  PADDOCK_MODEL_ORDER(first_error);
  PADDOCK_MODEL_ORDER(member_done);
#undef PADDOCK_MODEL_ORDER
};
struct model_timeline_orders {
#define PADDOCK_MODEL_ORDER(NAME) \
  static inline named_order NAME { "timeline_" #NAME, detail::timeline_orders::NAME }
  PADDOCK_MODEL_ORDER(raise);
  PADDOCK_MODEL_ORDER(look);
  PADDOCK_MODEL_ORDER(join);
  PADDOCK_MODEL_ORDER(due);
  PADDOCK_MODEL_ORDER(epoch);
  PADDOCK_MODEL_ORDER(epoch_look);
  PADDOCK_MODEL_ORDER(reached);
  PADDOCK_MODEL_ORDER(take_waiters);
  PADDOCK_MODEL_ORDER(value_look);
#undef PADDOCK_MODEL_ORDER
};

/// What can be broken beside the orders, to see that the suites notice.
enum class damage : std::uint8_t {
  none,
  lost_wake,          ///< Nobody who sleeps is woken.
  blind_sleep,        ///< The futex does not compare the word before it sleeps.
  split_exchange,     ///< An exchange is a load and a store.
  one_identity,       ///< All threads are the same.
  no_light_fence,     ///< A reader enters, or an owner leaves, without a fence;
  no_heavy_fence,     ///< its writer, or who sleeps for it, looks without one;
  no_fence_in_join,   ///< so does a first reader,
  no_fence_in_stamp,  ///< a writer that looks for one,
  no_fence_in_enter,  ///< and a reader without a record.
};
inline constinit damage present_damage = damage::none;

[[nodiscard]] inline rl::memory_order to_relacy(std::memory_order order) noexcept {
  switch (order) {
    case std::memory_order_relaxed: return rl::mo_relaxed;
    case std::memory_order_consume: return rl::mo_consume;
    case std::memory_order_acquire: return rl::mo_acquire;
    case std::memory_order_release: return rl::mo_release;
    case std::memory_order_acq_rel: return rl::mo_acq_rel;
    default: return rl::mo_seq_cst;
  }
}

/// Where the access stands in the source, for the histories that Relacy prints. Only good as a default argument.
[[nodiscard]] inline rl::debug_info here(const char* function = __builtin_FUNCTION(),
                                         const char* file = __builtin_FILE(), int line = __builtin_LINE()) noexcept {
  return {function, file, static_cast<unsigned>(line)};
}

/// Not atomic: two accesses, one of them a write, need an order between them.
template <class T>
class plain {
 public:
  explicit plain(T value) : value_(value) {}
  plain(const plain&) = delete;
  plain& operator=(const plain&) = delete;
  plain(plain&&) = delete;
  plain& operator=(plain&&) = delete;
  ~plain() {
    check_alive(here());
    mark_ = 0;
  }
  [[nodiscard]] T get(rl::debug_info where = here()) const {
    check_alive(where);
    return value_(where).load();
  }
  void set(T value, rl::debug_info where = here()) {
    check_alive(where);
    value_(where).store(value);
  }

 private:
  static constexpr unsigned alive = 0x50414444;

  void check_alive(const rl::debug_info& where) const {
    if (mark_ != alive) {
      rl::ctx().fail_test("", rl::test_result_access_to_freed_memory, where);
    }
  }

  /// Relacy has such a mark too, but compilers drop its last write: nobody may read it any more. Freed memory stays
  /// readable in Relacy, and is not used again at once.
  volatile unsigned mark_{alive};
  rl::var<T> value_;
};

/// As std::atomic. Its life is a plain variable, which each access reads and the ends write: memory that is made or
/// freed without an order to all of its uses is a data race, although an atomic alone never is one.
template <class T>
class atomic {
 public:
  explicit atomic(T value) : life_(0), value_(value) {}
  atomic(const atomic&) = delete;
  atomic& operator=(const atomic&) = delete;
  atomic(atomic&&) = delete;
  atomic& operator=(atomic&&) = delete;
  ~atomic() { life_.set(1); }

  [[nodiscard]] T load(std::memory_order order = std::memory_order_seq_cst, rl::debug_info where = here()) const {
    static_cast<void>(life_.get(where));
    // Of a weakened seq_cst, a load takes the half that it can have.
    return value_.load(to_relacy(order == std::memory_order_acq_rel ? std::memory_order_acquire : order), where);
  }
  void store(T value, std::memory_order order = std::memory_order_seq_cst, rl::debug_info where = here()) {
    static_cast<void>(life_.get(where));
    value_.store(value, to_relacy(order), where);
  }
  T exchange(T value, std::memory_order order = std::memory_order_seq_cst, rl::debug_info where = here()) {
    static_cast<void>(life_.get(where));
    return value_.exchange(value, to_relacy(order), where);
  }
  T fetch_add(T value, std::memory_order order = std::memory_order_seq_cst, rl::debug_info where = here()) {
    static_cast<void>(life_.get(where));
    return value_.fetch_add(value, to_relacy(order), where);
  }
  T fetch_sub(T value, std::memory_order order = std::memory_order_seq_cst, rl::debug_info where = here()) {
    static_cast<void>(life_.get(where));
    return value_.fetch_sub(value, to_relacy(order), where);
  }
  T fetch_and(T value, std::memory_order order = std::memory_order_seq_cst, rl::debug_info where = here()) {
    static_cast<void>(life_.get(where));
    return value_.fetch_and(value, to_relacy(order), where);
  }
  T fetch_or(T value, std::memory_order order = std::memory_order_seq_cst, rl::debug_info where = here()) {
    static_cast<void>(life_.get(where));
    return value_.fetch_or(value, to_relacy(order), where);
  }
  bool compare_exchange_weak(T& expected, T desired, std::memory_order success, std::memory_order failure,
                             rl::debug_info where = here()) {
    return compare_exchange(rl::bool_t<true>(), expected, desired, success, failure, where);
  }
  bool compare_exchange_strong(T& expected, T desired, std::memory_order success, std::memory_order failure,
                               rl::debug_info where = here()) {
    return compare_exchange(rl::bool_t<false>(), expected, desired, success, failure, where);
  }

  bool compare_exchange_weak(T& expected, T desired, std::memory_order order = std::memory_order_seq_cst,
                             rl::debug_info where = here()) {
    return compare_exchange_weak(expected, desired, order, of_failure(order), where);
  }
  bool compare_exchange_strong(T& expected, T desired, std::memory_order order = std::memory_order_seq_cst,
                               rl::debug_info where = here()) {
    return compare_exchange_strong(expected, desired, order, of_failure(order), where);
  }

  /// The latest value, as the kernel sees it under the lock of its futex: no step of its own, and no order.
  [[nodiscard]] T latest(rl::debug_info where) const {
    static_cast<void>(life_.get(where));
    const rl::preemption_disabler same_step(rl::ctx());
    return read_latest(rl::mo_relaxed, where);
  }

 private:
  [[nodiscard]] static std::memory_order of_failure(std::memory_order order) noexcept {
    switch (order) {
      case std::memory_order_release: return std::memory_order_relaxed;
      case std::memory_order_acq_rel: return std::memory_order_acquire;
      default: return order;
    }
  }
  template <class Spurious>
  bool compare_exchange(Spurious spurious, T& expected, T desired, std::memory_order success, std::memory_order failure,
                        rl::debug_info where) {
    static_cast<void>(life_.get(where));
    if (present_damage == damage::split_exchange) {
      const T seen = value_.load(to_relacy(success == std::memory_order_release ? failure : success), where);
      if (seen == expected) {
        value_.store(desired, rl::mo_release, where);
        return true;
      }
      expected = seen;
      return false;
    }
    const bool acquires = success != std::memory_order_relaxed && success != std::memory_order_release;
    if (failure == std::memory_order_relaxed || acquires) {
      return value_.compare_exchange(spurious, expected, desired, to_relacy(success), to_relacy(failure), where);
    }
    // Relacy still forbids what C++17 allows, a failure with a stronger order than the success. So the failure is
    // relaxed, and in the same step the value is read once more in the right order.
    if (value_.compare_exchange(spurious, expected, desired, to_relacy(success), rl::mo_relaxed, where)) {
      return true;
    }
    const rl::preemption_disabler same_step(rl::ctx());
    static_cast<void>(read_latest(to_relacy(failure), where));
    return false;
  }
  /// A load sees older values too; an exchange that fails does not.
  T read_latest(rl::memory_order order, rl::debug_info where) const {
    T expected = other_than(value_.debug_value());
    value_.compare_exchange_strong(expected, expected, order, where);
    return expected;
  }

  [[nodiscard]] static T other_than(T value) noexcept {
    if constexpr (std::is_pointer_v<T>) {
      return reinterpret_cast<T>(~reinterpret_cast<std::uintptr_t>(value));
    } else if constexpr (std::is_same_v<T, bool>) {
      return !value;
    } else {
      return static_cast<T>(~value);
    }
  }

  plain<int> life_;
  mutable rl::atomic<T> value_;
};

class callback;
struct relacy_traits;

/// What the model keeps of a thread beside Relacy.
struct thread_state {
  detail::run_queue<relacy_traits>* queue{nullptr};
  const void* sleeps_on{nullptr};
  int wakes_without_cause{2};
};
inline constexpr std::size_t most_threads = 8;
inline constinit thread_state thread_states[most_threads]{};

/// The traits of the model.
struct relacy_traits {
  using order = model_orders;
  using slot_order = model_slot_orders;
  using array_order = model_array_orders;
  using timeline_order = model_timeline_orders;
  using callback = model::callback;
  template <class T>
  using atomic = model::atomic<T>;
  template <class T>
  using plain = model::plain<T>;

  [[nodiscard]] static std::uintptr_t self() {
    return present_damage == damage::one_identity ? 4 : (rl::thread_index() + 1) * 4;
  }
  [[nodiscard]] static detail::run_queue<relacy_traits>*& queue() { return thread_states[rl::thread_index()].queue; }
  static void about_to_write(const void*) noexcept {}
  static void pause_for_line() noexcept {}
  static void backoff(unsigned, rl::debug_info where = here()) { rl::ctx().yield(1, where); }

  /// The futex. It orders nothing: that is left to the word. A sleeper wakes without cause now and then, in random
  /// runs.
  template <class Word>
  [[nodiscard]] static bool sleep(const atomic<Word>& word, Word seen, deadline until, rl::debug_info where = here()) {
    rl::context& context = rl::ctx();
    context.sched();
    if (static_cast<std::uint32_t>(word.latest(where)) != static_cast<std::uint32_t>(seen) &&
        present_damage != damage::blind_sleep) {
      return true;
    }
    thread_state& own = thread_states[rl::thread_index()];
    const bool without_cause = context.is_random_sched() && own.wakes_without_cause > 0;
    own.sleeps_on = &word;
    const rl::unpark_reason why = context.park_current_thread(!until.is_never(), without_cause, false, where);
    own.sleeps_on = nullptr;
    if (why == rl::unpark_reason_spurious) {
      --own.wakes_without_cause;
    }
    return why != rl::unpark_reason_timeout;
  }
  /// By address alone: the word may be gone.
  template <class Word>
  static void wake(const atomic<Word>* word, rl::debug_info where = here()) {
    rl::ctx().sched();
    if (present_damage == damage::lost_wake) {
      return;
    }
    for (std::size_t i = 0; i < most_threads; ++i) {
      if (thread_states[i].sleeps_on == word) {
        thread_states[i].sleeps_on = nullptr;
        rl::ctx().unpark_thread(static_cast<rl::thread_id_t>(i), false, where);
      }
    }
  }

  /// Before each run.
  static void reset() noexcept {
    for (thread_state& thread : thread_states) {
      thread = {};
    }
  }
};

}  // namespace paddock::model
