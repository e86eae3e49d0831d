// SPDX-License-Identifier: BSL-1.0
// Reservations where memory runs out: every allocation of theirs is refused in turn.
#include <dlfcn.h>
#include <linux/futex.h>
#include <sys/syscall.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdarg>
#include <cstddef>
#include <cstdlib>
#include <deque>
#include <new>
#include <thread>
#include <utility>
#include <vector>

#include <paddock/resv/cursor.hpp>
#include <paddock/resv/lock_set.hpp>

#include "reservations.hpp"

namespace {

/// While not negative: so many allocations more succeed in this thread, and then none.
thread_local int allocations_left = -1;
thread_local int refused = 0;
std::atomic<std::ptrdiff_t> blocks_alive{0};

void* allocate(std::size_t size, std::size_t alignment = alignof(std::max_align_t)) noexcept {
  // NOLINTNEXTLINE(cppcoreguidelines-no-malloc): what operator new is made of here.
  void* const made = std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  if (made != nullptr) {
    ++blocks_alive;
  }
  return made;
}
void release(void* gone) noexcept {
  if (gone != nullptr) {
    --blocks_alive;
    std::free(gone);  // NOLINT(cppcoreguidelines-no-malloc): as above.
  }
}
void* allocate_if_allowed(std::size_t size, std::size_t alignment = alignof(std::max_align_t)) noexcept {
  if (allocations_left == 0) {
    ++refused;
    return nullptr;
  }
  allocations_left -= allocations_left > 0 ? 1 : 0;
  return allocate(size, alignment);
}

/// Which words this thread slept at last, and which it woke, in order.
thread_local std::atomic<const void*>* slept_at = nullptr;
thread_local std::vector<const void*>* woken = nullptr;

/// While set, the kernel forbids membarrier, as a sandbox does that comes late.
std::atomic<bool> no_membarrier{false};
/// While set, nobody is woken, as if it had not been seen that somebody sleeps.
std::atomic<bool> no_wakes{false};

}  // namespace

// libc's, which paddock asks for membarrier and futex. NOLINTNEXTLINE(cert-dcl50-cpp)
extern "C" long syscall(long number, ...) noexcept {
  va_list list;
  va_start(list, number);
  long arguments[6];
  for (long& each : arguments) {
    each = va_arg(list, long);  // As libc's own does, however many there are.
  }
  va_end(list);
  if (number == SYS_membarrier && no_membarrier) {
    errno = EPERM;
    return -1;
  }
  constexpr long operation = 0x7f;
  const bool is_wake = number == SYS_futex && (arguments[1] & operation) == FUTEX_WAKE;
  const auto* const word = reinterpret_cast<const void*>(arguments[0]);  // NOLINT(performance-no-int-to-ptr)
  if (is_wake && no_wakes) {
    return 0;
  }
  if (is_wake && woken != nullptr) {
    woken->push_back(word);
  } else if (number == SYS_futex && !is_wake && slept_at != nullptr) {
    slept_at->store(word);
  }
  static const auto real = reinterpret_cast<long (*)(long, ...)>(::dlsym(RTLD_NEXT, "syscall"));
  return real(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5]);
}

// What throws is the test's own and succeeds; paddock uses the others alone.
void* operator new(std::size_t size) {
  void* const made = allocate(size);
  if (made == nullptr) {
    std::abort();
  }
  return made;
}
void* operator new[](std::size_t size) { return ::operator new(size); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  void* const made = allocate(size, static_cast<std::size_t>(alignment));
  if (made == nullptr) {
    std::abort();
  }
  return made;
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept { return allocate_if_allowed(size); }
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept { return allocate_if_allowed(size); }
void* operator new(std::size_t size, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  return allocate_if_allowed(size, static_cast<std::size_t>(alignment));
}
void operator delete(void* gone) noexcept { release(gone); }
void operator delete(void* gone, std::align_val_t) noexcept { release(gone); }
void operator delete(void* gone, std::size_t, std::align_val_t) noexcept { release(gone); }
void operator delete[](void* gone) noexcept { release(gone); }
void operator delete(void* gone, std::size_t) noexcept { release(gone); }
void operator delete[](void* gone, std::size_t) noexcept { release(gone); }

namespace paddock {

using test::add;
using test::all_usages;
using test::collect;
using test::fails_with;
using test::found;
using test::make_fence;
using test::make_fences;
using test::pending;
using test::release_count;

namespace {

/// Runs `call`, which returns a result, with one allocation more each time, until none is refused. Each refusal is told
/// as out_of_memory and calls `check`. Returns how many there were.
template <class Call, class Check>
int refuse_in_turn(Call call, Check check) {
  for (int refusals = 0;; ++refusals) {
    allocations_left = refusals;
    auto ended = call();
    allocations_left = -1;
    if (ended) {
      return refusals;
    }
    CHECK(fails_with(ended, errc::out_of_memory));
    check();
  }
}

/// In a thread that has a record, so that looks allocate nothing more.
void read_once() {
  const reservation r;
  CHECK(r.test_signaled(usage::read));
}

/// Sees at its end whether all memory came back that was taken since its beginning.
class nothing_leaked {
 public:
  nothing_leaked() = default;
  nothing_leaked(const nothing_leaked&) = delete;
  nothing_leaked& operator=(const nothing_leaked&) = delete;
  ~nothing_leaked() { CHECK(blocks_alive == before_); }

 private:
  const std::ptrdiff_t before_{blocks_alive};
};

/// All that a reservation has, those that are done included.
std::vector<found> owned(const reservation& r, const resv_lock& proof) {
  std::vector<found> all;
  CHECK(r.for_each(proof, usage::bookkeep, [&](fence& f, usage as) { all.push_back({&f, as}); }));
  return all;
}

}  // namespace

TEST_CASE("reserve() that gets no memory changes nothing") {
  read_once();
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{4}, std::size_t{9}}) {
    const nothing_leaked check;
    reservation r;
    const auto fences = make_fences(size);
    for (const fence_ptr& f : fences) {
      add(r, f, usage::read);
    }
    if (size > 1) {
      fences[0]->signal();
    }
    const fence_ptr late = make_fence();
    auto lock = r.lock();
    const auto before = owned(r, *lock);
    const int refusals = refuse_in_turn([&] { return r.reserve(*lock, 50); },
                                        [&] {
                                          CHECK(owned(r, *lock) == before);
                                          CHECK(fails_with(r.add(*lock, late, usage::read), errc::not_reserved));
                                        });
    CHECK(refusals == 2);  // A list, and what is kept of the old one.
    for (const fence_ptr& f : make_fences(50)) {
      CHECK(r.add(*lock, f, usage::read));
    }
    CHECK(fails_with(r.add(*lock, late, usage::read), errc::not_reserved));
  }
}

TEST_CASE("after reserve() add() needs no memory") {
  reservation r;
  fence_context queue("queue", std::chrono::seconds(1));
  const auto fences = make_fences(20);
  const auto lock = r.lock();
  for (int round = 0; round < 3; ++round) {
    REQUIRE(r.reserve(*lock, 20));
    allocations_left = 0;
    for (const fence_ptr& f : fences) {
      CHECK(r.add(*lock, f, usage::read));
    }
    allocations_left = -1;
  }
  CHECK(pending(r).size() == 20);
}

TEST_CASE("replace() that gets no memory changes nothing") {
  read_once();
  release_count freed;
  fence_context queue("queue", std::chrono::seconds(1));
  fence_ptr by = freed.make();
  {
    const nothing_leaked check;
    reservation r;
    for (std::uint64_t i = 0; i < 4; ++i) {
      add(r, *queue.create(fence_seqno(9 - i), &release_count::ops, &freed), usage::read);
    }
    const auto lock = r.lock();
    // Until nothing more can be kept without memory.
    int refusals = 0;
    for (int round = 0; round < 4; ++round) {
      const auto before = owned(r, *lock);
      refusals += refuse_in_turn([&] { return r.replace(*lock, before[0].which->context(), by, usage::write); },
                                 [&] { CHECK(owned(r, *lock) == before); });
      CHECK(owned(r, *lock) == std::vector<found>(4, found{by.get(), usage::write}));
    }
    CHECK(refusals > 0);
  }
  CHECK(freed.freed == 4);
  by.reset();
  CHECK(freed.freed == 5);
}

TEST_CASE("copy() that gets no memory changes nothing") {
  read_once();
  release_count freed;
  {
    const nothing_leaked check;
    reservation from;
    reservation to;
    for (const usage as : all_usages) {
      add(from, freed.make(), as);
    }
    for (int i = 0; i < 31; ++i) {
      add(to, freed.make(), usage::read);
    }
    auto lock = to.lock();
    REQUIRE(to.reserve(*lock, 1));
    const auto before = owned(to, *lock);
    const int refusals =
        refuse_in_turn([&] { return to.copy(*lock, from); }, [&] { CHECK(owned(to, *lock) == before); });
    CHECK(refusals == 2);  // A list, and what is kept of the old one.
    CHECK(pending(to) == pending(from));
    CHECK(to.add(*lock, make_fence(), usage::read));  // The room is there still.
  }
  CHECK(freed.freed == 35);
}

TEST_CASE("snapshot(), singleton() and dependencies() that get no memory hold nothing") {
  read_once();
  release_count freed;
  {
    const nothing_leaked check;
    reservation r;
    for (int i = 0; i < 20; ++i) {
      add(r, freed.make(), usage::read);
    }
    CHECK(refuse_in_turn([&] { return r.snapshot(usage::read); }, [] {}) == 1);
    CHECK(refuse_in_turn([&] { return r.singleton(usage::read); }, [] {}) == 3);
    CHECK(refuse_in_turn([&] { return r.dependencies(access::write); }, [] {}) == 3);
  }
  CHECK(freed.freed == 20);
}

TEST_CASE("a set that finds no room for its locks leaves all of them") {
  const nothing_leaked check;
  std::deque<reservation> all(100);
  std::vector<reservation*> few;
  for (std::size_t i = 0; i < 16; ++i) {
    few.push_back(&all[i]);
  }
  lock_set locks;
  allocations_left = 0;
  const auto sixteen = locks.lock_all(few);
  allocations_left = -1;
  CHECK(sixteen);
  locks.unlock_all();
  const auto check_left = [&] {
    CHECK(locks.size() == 0);
    for (const reservation& each : all) {
      CHECK_FALSE(each.is_locked());
    }
  };
  CHECK(refuse_in_turn([&] { return locks.lock_all(all); }, check_left) == 2);
  CHECK(locks.size() == all.size());
  locks.unlock_all();
  // The room stays.
  CHECK(refuse_in_turn([&] { return locks.lock_all(all); }, check_left) == 0);
  locks.unlock_all();
  // Room for fences in each of them; what the rounds before made of it stays there.
  CHECK(refuse_in_turn([&] { return locks.lock_all(all, 1); }, check_left) > 2);
}

TEST_CASE("a thread that gets no record reads all the same, and nothing is freed meanwhile") {
  read_once();
  release_count freed;
  reservation r;
  fence_ptr old = freed.make();
  add(r, old, usage::read);
  std::thread([&] {
    allocations_left = 0;
    CHECK_FALSE(r.test_signaled(usage::read));
    CHECK(refused > 0);
    CHECK(r.snapshot(usage::read)->size() == 1);
    {
      fence_cursor each(r, usage::read);
      CHECK(each.next() == old);
      CHECK_FALSE(each.next());
    }
    {
      const resv_guard inside(r);
      const resv_guard again(r);
      CHECK(pending(r).size() == 1);
      old->signal();
      old.reset();
      std::thread([&] {
        add(r, make_fence(), usage::read);
        CHECK(collect(r) == 1);
        CHECK(collect(r) == 1);
      }).join();
      CHECK(freed.freed == 0);
      // With memory again, a look inside is one with a record.
      allocations_left = -1;
      CHECK_FALSE(r.test_signaled(usage::read));
      CHECK(collect(r) == 1);
    }
    CHECK(collect(r) == 0);
    CHECK(freed.freed == 1);
  }).join();
}

TEST_CASE("where the barrier for all threads is forbidden, nothing is freed that a reader might see") {
  read_once();
  release_count freed;
  reservation r;
  fence_ptr old = freed.make();
  add(r, old, usage::read);
  old->signal();
  old.reset();
  no_membarrier = true;
  add(r, make_fence(), usage::read);
  CHECK(collect(r) == 1);
  CHECK(collect(r) == 1);
  CHECK(freed.freed == 0);
  no_membarrier = false;
  CHECK(collect(r) == 0);
  CHECK(freed.freed == 1);
}

TEST_CASE("a lock is waited for where the barrier of its sleepers cannot be had any more") {
  using namespace std::chrono_literals;
  reservation r;
  read_once();  // The process could have it, once.
  auto held = r.lock();
  no_membarrier = true;
  const auto began = monotonic_clock::now();
  std::thread([&] { CHECK(fails_with(r.lock(deadline::in(50ms)), errc::timed_out)); }).join();
  CHECK(monotonic_clock::now() - began >= 50ms);
  bool is_locked = false;
  std::thread waiter([&] { is_locked = r.lock().has_value(); });
  std::this_thread::sleep_for(20ms);
  no_wakes = true;
  held->unlock();
  waiter.join();
  no_wakes = false;
  no_membarrier = false;
  CHECK(is_locked);
}

TEST_CASE("a set leaves the last lock first, when it ends and when it fails") {
  constexpr std::size_t count = 3;
  for (const bool fails : {false, true}) {
    std::array<reservation, count> all;
    std::array<std::atomic<const void*>, count> words{};
    std::vector<std::thread> sleepers;
    lock_set locks;
    const auto lock_them = [&]() -> result<void> {
      for (reservation& each : all) {
        PADDOCK_TRY_VOID(locks.lock(each));
      }
      for (std::size_t i = 0; i < count; ++i) {
        sleepers.emplace_back([&, i] {
          slept_at = &words[i];
          static_cast<void>(all[i].lock());
        });
        while (words[i] == nullptr) {
          std::this_thread::yield();
        }
      }
      return fails ? fail(errc::canceled, "test") : result<void>();
    };
    std::vector<const void*> order;
    woken = &order;
    const auto ended = locks.lock_all(lock_them);
    CHECK(ended.has_value() != fails);
    locks.unlock_all();
    woken = nullptr;
    for (std::thread& each : sleepers) {
      each.join();
    }
    CHECK(order == std::vector<const void*>{words[2], words[1], words[0]});
  }
}

TEST_CASE("what reservations allocate they give back, readers' records excepted") {
  read_once();
  const std::ptrdiff_t before = blocks_alive;
  {
    const nothing_leaked check;
    std::deque<reservation> all(40);
    lock_set locks;
    REQUIRE(locks.lock_all(all, 30));
    for (reservation& each : all) {
      for (int i = 0; i < 30; ++i) {
        REQUIRE(each.add(locks.held(each), make_fence(), usage::read));
      }
      REQUIRE(each.copy(locks.held(each), all[0]));
    }
    const auto taken = all[0].snapshot(usage::read);
    REQUIRE(taken);
  }
  // Threads that come and go use the same records.
  for (int i = 0; i < 100; ++i) {
    std::thread(&read_once).join();
  }
  CHECK(blocks_alive <= before + 2);
}

}  // namespace paddock
