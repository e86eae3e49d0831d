// SPDX-License-Identifier: BSL-1.0
// The domain of readers by itself: what a writer takes out of sight is freed when nobody can see it any more.
#include <resv/room.hpp>

namespace paddock::model {
namespace {

struct object {
  explicit object(int value) : payload(value) {}
  object(const object&) = delete;
  object& operator=(const object&) = delete;
  ~object() { payload.set(0); }
  plain<int> payload;
};

/// One object that can be seen, and what writers that follow one another keep of those before it.
struct place {
  void read() {
    auto* const inside = readers.enter();
    RL_ASSERT(present.load(std::memory_order_acquire)->payload.get() != 0);
    readers.leave(inside);
  }
  void read_twice_inside() {
    auto* const outer = readers.enter();
    object* const seen = present.load(std::memory_order_acquire);
    read();
    RL_ASSERT(seen->payload.get() != 0);
    readers.leave(outer);
  }
  /// As a list does it, which orders what readers see and nothing else.
  void replace() {
    object* const old = present.load(std::memory_order_relaxed);
    present.store(new object(1), std::memory_order_release);
    collect();
    (gone[0] == nullptr ? gone[0] : gone[1]) = old;
    collect();
  }
  void collect() {
    if (gone[0] == nullptr) {
      return;
    }
    if (stamp == 0) {
      stamp = readers.stamp();
    }
    if (readers.has_left(stamp)) {
      stamp = 0;
      delete gone[0];
      gone[0] = gone[1];
      gone[1] = nullptr;
    }
  }
  void clear() {
    delete present.load(std::memory_order_relaxed);
    delete gone[0];
    delete gone[1];
    relacy_resv_traits::free_records();
  }

  domain readers{1};
  atomic<object*> present{new object(1)};
  object* gone[2]{};
  std::uint64_t stamp{0};
};

/// How a reader is known to the domain.
enum class known : std::uint8_t {
  before,    ///< It has its record.
  never,     ///< It gets its record when it reads for the first time.
  in_crowd,  ///< It has none.
};

/// The first thread writes, the others read twice.
template <bool Asymmetric, known First, known Second, int Threads>
struct readers_and_writer : resv_suite<readers_and_writer<Asymmetric, First, Second, Threads>, Threads, Asymmetric> {
  void before() {
    for (unsigned i = 1; i < Threads; ++i) {
      const known how = i == 1 ? First : Second;
      resv_state::thread& reader = present_resv.threads[i];
      reader.is_in_crowd = how == known::in_crowd;
      reader.record = how == known::before ? relacy_resv_traits::join(shared.readers) : nullptr;
    }
  }
  void thread(unsigned index) {
    if (index == 0) {
      shared.replace();
      shared.collect();
    } else {
      shared.read();
      if (Threads == 2) {
        shared.read();
      }
    }
  }
  void after() { shared.clear(); }
  place shared;
};

/// A reader that is inside already enters again.
template <bool Asymmetric, known How>
struct nested : resv_suite<nested<Asymmetric, How>, 2, Asymmetric> {
  void before() { present_resv.threads[1].is_in_crowd = How == known::in_crowd; }
  void thread(unsigned index) {
    if (index == 0) {
      shared.replace();
      shared.collect();
    } else {
      shared.read_twice_inside();
    }
  }
  void after() { shared.clear(); }
  place shared;
};

/// The second writer, which comes after the first one, frees what that took out, and asks when that asked for it.
template <bool Asymmetric>
struct writers_in_turn : resv_suite<writers_in_turn<Asymmetric>, 3, Asymmetric> {
  void thread(unsigned index) {
    if (index == 2) {
      shared.read();
      return;
    }
    RL_ASSERT(lock(writers, nullptr) == lock_outcome::locked);
    shared.replace();
    writers.unlock(nullptr);
  }
  void after() { shared.clear(); }
  place shared;
  mutex writers;
};

/// A thread ends, and another one may get its record.
template <bool Asymmetric>
struct record_passed_on : resv_suite<record_passed_on<Asymmetric>, 3, Asymmetric> {
  void thread(unsigned index) {
    if (index == 0) {
      shared.replace();
      shared.collect();
      return;
    }
    shared.read();
    relacy_resv_traits::part();
  }
  void after() { shared.clear(); }
  place shared;
};

const registered one{"readers", "a reader that is known", 3,
                     &run_suite<readers_and_writer<false, known::before, known::before, 2>>};
const registered one_asymmetric{"readers", "a reader that is known, asymmetric", 3,
                                &run_suite<readers_and_writer<true, known::before, known::before, 2>>};
const registered first{"readers", "the first reader", 2,
                       &run_suite<readers_and_writer<false, known::never, known::never, 2>>};
const registered first_asymmetric{"readers", "the first reader, asymmetric", 3,
                                  &run_suite<readers_and_writer<true, known::never, known::never, 2>>};
const registered crowd{"readers", "one of a crowd", 4,
                       &run_suite<readers_and_writer<false, known::in_crowd, known::in_crowd, 2>>};
const registered crowd_asymmetric{"readers", "one of a crowd, asymmetric", 4,
                                  &run_suite<readers_and_writer<true, known::in_crowd, known::in_crowd, 2>>};
const registered crowd_of_two{"readers", "a crowd of two", 2,
                              &run_suite<readers_and_writer<false, known::in_crowd, known::in_crowd, 3>>};
const registered two_first{"readers", "two first readers", 1,
                           &run_suite<readers_and_writer<true, known::never, known::never, 3>>};
const registered mixed{"readers", "a reader, and one of a crowd", 2,
                       &run_suite<readers_and_writer<true, known::before, known::in_crowd, 3>>};
const registered inside{"readers", "inside twice", 3, &run_suite<nested<true, known::before>>};
const registered crowd_inside{"readers", "inside twice in the crowd", 4, &run_suite<nested<true, known::in_crowd>>};
const registered in_turn{"readers", "two writers in turn", 1, &run_suite<writers_in_turn<false>>};
const registered in_turn_asymmetric{"readers", "two writers in turn, asymmetric", 1, &run_suite<writers_in_turn<true>>};
const registered passed_on{"readers", "a record passed on", 1, &run_suite<record_passed_on<true>>};

}  // namespace
}  // namespace paddock::model
