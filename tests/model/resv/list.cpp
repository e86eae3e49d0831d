// SPDX-License-Identifier: BSL-1.0
// The list of fences: read while its owner adds to it, replaces in it, copies into it and collects what left it.
#include <resv/room.hpp>

namespace paddock::model {
namespace {

/// What the list asks of a fence. Its end writes what its readers read.
struct alignas(8) listed {
  listed(std::uint64_t of, int point) : of_context(of), number(point) {}
  listed(const listed&) = delete;
  listed& operator=(const listed&) = delete;
  ~listed() { number.set(0); }

  void get() { references.fetch_add(1, std::memory_order_relaxed); }
  void put() {
    if (references.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      delete this;
    }
  }
  void signal() { done.store(true, std::memory_order_release); }
  [[nodiscard]] bool is_signaled() const { return done.load(std::memory_order_acquire); }
  [[nodiscard]] std::uint64_t context() const { return of_context; }
  [[nodiscard]] bool is_later_than(const listed& other) const { return number.get() > other.number.get(); }

  const std::uint64_t of_context;
  plain<int> number;
  atomic<std::uint32_t> references{1};
  atomic<bool> done{false};
};

using list = detail::fence_list<relacy_resv_traits, listed>;

/// A list, and the lock of its owners.
struct room {
  ~room() { relacy_resv_traits::free_records(); }

  void add(std::uint64_t context, int number) { add(*new listed(context, number)); }
  void add(listed& added) {
    RL_ASSERT(fences.reserve(1));
    fences.add(added, usage::read);
    fences.forget_reserved();
  }
  /// Until a new one needs a new block.
  void fill(bool is_done) {
    for (std::uint64_t context = 1; context <= 4; ++context) {
      auto* const added = new listed(context, 1);
      add(*added);
      if (is_done) {
        added->signal();
      }
    }
  }
  /// Looks at all of them, and says how many there are.
  int look() {
    const list::reading inside(readers);
    int seen = 0;
    fences.for_each([&](listed& each, usage as) {
      RL_ASSERT(each.number.get() != 0 && as == usage::read);
      ++seen;
      return true;
    });
    return seen;
  }
  /// Walks over all that are pending, with a reference of each.
  void walk() {
    list::position at;
    while (listed* const each = fences.next(at, usage::bookkeep)) {
      RL_ASSERT(each->number.get() != 0 && at.as == usage::read);
      each->put();
    }
  }

  domain readers{1};
  list fences{readers};
};

/// What the owner does.
enum class change : std::uint8_t {
  add,       ///< A later fence of the same context.
  add_done,  ///< In place of one that is done.
  append,    ///< In a slot that is free.
  grow,      ///< In a larger block.
  compact,   ///< In a block without what was done.
  replace,   ///< One fence in place of all of a context.
};
void apply(change what, room& to) {
  switch (what) {
    case change::add: to.add(1, 2); break;
    case change::add_done:
    case change::append:
    case change::grow:
    case change::compact: to.add(5, 1); break;
    case change::replace: {
      auto* const by = new listed(2, 1);
      RL_ASSERT(to.fences.replace(1, *by, usage::read));
      by->put();
      break;
    }
  }
  to.fences.collect();
}
void prepare(change what, room& to) {
  if (what == change::grow || what == change::compact) {
    to.fill(what == change::compact);
    return;
  }
  auto* const first = new listed(1, 1);
  to.add(*first);
  if (what == change::add_done) {
    first->signal();
  }
}

/// The second thread looks, or walks.
template <change What, bool Walks>
struct read_against : resv_suite<read_against<What, Walks>, 2, true> {
  void before() {
    prepare(What, shared);
    present_resv.threads[1].record = relacy_resv_traits::join(shared.readers);
  }
  void thread(unsigned index) {
    if (index == 0) {
      apply(What, shared);
      shared.fences.collect();
    } else if (Walks) {
      shared.walk();
    } else {
      RL_ASSERT(shared.look() >= 1);
    }
  }
  room shared;
};

/// Into a list that is read, from one that its owner changes.
struct copy_against : resv_suite<copy_against, 3, true> {
  void before() {
    shared.add(1, 1);
    RL_ASSERT(from.reserve(1));
    from.add(*new listed(1, 1), usage::read);
  }
  void thread(unsigned index) {
    if (index == 0) {
      RL_ASSERT(shared.fences.copy(from));
      shared.fences.collect();
    } else if (index == 1) {
      RL_ASSERT(from.reserve(1));
      from.add(*new listed(1, 2), usage::read);
      from.collect();
    } else {
      RL_ASSERT(shared.look() == 1);
    }
  }
  room shared;
  list from{shared.readers};
};

/// Two owners, one after the other, and a reader.
template <bool Walks>
struct owners_in_turn : resv_suite<owners_in_turn<Walks>, 3, true> {
  void before() { shared.add(1, 1); }
  void thread(unsigned index) {
    if (index == 2) {
      if (Walks) {
        shared.walk();
      } else {
        RL_ASSERT(shared.look() == 1);
      }
      return;
    }
    RL_ASSERT(lock(owners, nullptr) == lock_outcome::locked);
    shared.add(1, last.get() + 1);
    last.set(last.get() + 1);
    shared.fences.collect();
    owners.unlock(nullptr);
  }
  room shared;
  mutex owners;
  plain<int> last{1};
};

/// What was added before is seen: it, or what took its place.
struct added_before : resv_suite<added_before, 3> {
  void thread(unsigned index) {
    if (index == 0) {
      RL_ASSERT(lock(owners, nullptr) == lock_outcome::locked);
      shared.add(1, 1);
      owners.unlock(nullptr);
      has_added.store(true, std::memory_order_release);
    } else if (index == 1) {
      RL_ASSERT(lock(owners, nullptr) == lock_outcome::locked);
      shared.add(2, 1);
      owners.unlock(nullptr);
    } else if (has_added.load(std::memory_order_acquire)) {
      const list::reading inside(shared.readers);
      bool is_there = false;
      shared.fences.for_each([&](listed& each, usage) {
        is_there = is_there || each.context() == 1;
        return true;
      });
      RL_ASSERT(is_there);
    }
  }
  room shared;
  mutex owners;
  atomic<bool> has_added{false};
};

const registered look_add{"list", "a look while a fence is replaced", 3, &run_suite<read_against<change::add, false>>};
const registered walk_add{"list", "a walk while a fence is replaced", 2, &run_suite<read_against<change::add, true>>};
const registered look_done{"list", "a look while a done fence is replaced", 3,
                           &run_suite<read_against<change::add_done, false>>};
const registered walk_append{"list", "a walk while a fence is added", 3,
                             &run_suite<read_against<change::append, true>>};
const registered look_grow{"list", "a look while the block grows", 1, &run_suite<read_against<change::grow, false>>};
const registered walk_grow{"list", "a walk while the block grows", 0, &run_suite<read_against<change::grow, true>>};
const registered walk_compact{"list", "a walk while done fences are left out", 1,
                              &run_suite<read_against<change::compact, true>>};
const registered look_replace{"list", "a look while a context is replaced", 2,
                              &run_suite<read_against<change::replace, false>>};
const registered walk_replace{"list", "a walk while a context is replaced", 2,
                              &run_suite<read_against<change::replace, true>>};
const registered copies{"list", "a copy of a list that changes", 0, &run_suite<copy_against>};
const registered look_owners{"list", "a look while two owners follow", 1, &run_suite<owners_in_turn<false>>};
const registered walk_owners{"list", "a walk while two owners follow", 0, &run_suite<owners_in_turn<true>>};
const registered before{"list", "what was added before", 1, &run_suite<added_before>};

}  // namespace
}  // namespace paddock::model
