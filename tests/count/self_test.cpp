// SPDX-License-Identifier: BSL-1.0
// That the counter sees what stands in the code, before anything else is believed of it.
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <new>

#include "catch.hpp"
#include "stepper.hpp"

using paddock::test::cost;
using paddock::test::cost_of;
using paddock::test::counted;
using paddock::test::events;
using paddock::test::must;

#if defined(__x86_64__)

namespace {

// `operation` is a function of a reference to 64 bits, which hold 0.
template <class Operation>
cost cost_on_word(const char* name, Operation operation) {
  return cost_of(name, [operation] {
    std::uint64_t word = 0;
    counted(operation, word);
  });
}

}  // namespace

TEST_CASE("an empty function costs nothing, three instructions cost three") {
  CHECK(cost_on_word("nothing", [](std::uint64_t&) {}).instructions == 0);
  const cost three = cost_on_word("three", [](std::uint64_t&) { asm volatile("nop\n nop\n nop"); });
  CHECK(three.instructions == 3);
  CHECK(three.events == events{});
}

TEST_CASE("locked instructions are counted, whatever their prefixes") {
  const cost all = cost_on_word("lock", [](std::uint64_t& word) {
    asm volatile(
        "lock incb (%0)\n"
        "lock incw (%0)\n"
        "lock incl (%0)\n"
        "lock incq (%0)\n"
        "mov %0, %%r8\n"
        "lock incl (%%r8)\n"
        "lock xaddq %%r9, (%%r8)\n"
        "lock cmpxchgq %%r9, (%%r8)\n"
        "lock decl %%es:(%%r8)\n"
        :
        : "r"(&word)
        : "memory", "cc", "r8", "r9", "rax");
  });
  CHECK(all.events == events{.locked = 8});
  const cost exchanges = cost_on_word("xchg m", [](std::uint64_t& word) {
    asm volatile("xchgb %%al, (%0)\n xchgw %%ax, (%0)\n xchgl %%eax, (%0)\n xchgq %%r8, (%0)"
                 :
                 : "r"(&word)
                 : "memory", "rax", "r8");
  });
  CHECK(exchanges.events == events{.locked = 4});
}

TEST_CASE("what only looks like a locked instruction is not counted") {
  const cost all = cost_on_word("not locked", [](std::uint64_t& word) {
    asm volatile(
        "xchg %%rax, %%r8\n"
        "xchg %%al, %%cl\n"
        "xchg %%ax, %%ax\n"
        "incq (%0)\n"
        "cmpxchgq %%r8, (%0)\n"
        "mov $0xf0f0f0f0, %%eax\n"
        :
        : "r"(&word)
        : "memory", "cc", "rax", "rcx", "r8");
  });
  CHECK(all.instructions >= 6);
  CHECK(all.events == events{});
}

TEST_CASE("memory fences are counted, their neighbours are not") {
  CHECK(cost_on_word("fences", [](std::uint64_t&) {
          asm volatile("mfence\n lfence\n sfence" ::: "memory");
        }).events == events{.fences = 3});
  CHECK(cost_on_word("stmxcsr, clflush", [](std::uint64_t& word) {
          asm volatile("stmxcsr (%0)\n clflush (%0)" : : "r"(&word) : "memory");
        }).events == events{});
}

TEST_CASE("syscalls are counted and known") {
  CHECK(cost_on_word("getppid, close", [](std::uint64_t&) {
          static_cast<void>(::getppid());
          ::close(-1);
        }).events == events{.syscalls = {SYS_getppid, SYS_close}});
}

TEST_CASE("allocations are counted, those of operator new included") {
  CHECK(cost_on_word("malloc, free", [](std::uint64_t& word) {
          void* volatile p = std::malloc(64);  // NOLINT(cppcoreguidelines-no-malloc): what is counted.
          word += p != nullptr ? 1U : 0U;
          std::free(p);  // NOLINT(cppcoreguidelines-no-malloc): as above.
        }).events == events{.allocations = 1, .frees = 1});
  CHECK(cost_on_word("new, delete", [](std::uint64_t&) {
          int* volatile p = new int(1);
          delete p;
          std::uint64_t* volatile q = new (std::nothrow) std::uint64_t[8];
          delete[] q;
        }).events == events{.allocations = 2, .frees = 2});
  CHECK(cost_on_word("aligned new", [](std::uint64_t&) {
          struct alignas(64) line {
            char bytes[64];
          };
          line* volatile p = new line;
          delete p;
        }).events.allocations == 1);
}

TEST_CASE("only the second run of a body counts") {
  CHECK(cost_of("a first call", [] {
          static bool called = false;
          counted(
              [](bool& before) {
                if (!before) {
                  static_cast<void>(::getppid());
                  before = true;
                }
              },
              called);
        }).events == events{});
}

TEST_CASE("a body is told what its operation returned") {
  static_cast<void>(cost_of("answers", [] {
    static int calls = 0;
    std::uint64_t word = static_cast<std::uint64_t>(calls++);
    must(counted([](std::uint64_t& w) { return w == 0; }, word) == (word == 0));
  }));
}

#endif
