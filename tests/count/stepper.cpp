// SPDX-License-Identifier: BSL-1.0
#include "stepper.hpp"

#include <ostream>

#include "catch.hpp"

namespace paddock::test {

std::ostream& operator<<(std::ostream& out, const events& e) {
  out << e.locked << " locked, " << e.fences << " fences, " << e.allocations << " allocations, " << e.frees
      << " frees, " << e.syscalls.size() << " syscalls";
  for (const long number : e.syscalls) {
    out << " #" << number;
  }
  return out;
}

std::ostream& operator<<(std::ostream& out, const cost& c) {
  return out << c.instructions << " instructions, " << c.events;
}

void must(bool condition) {
  if (!condition) {
    std::fputs("the counted body did not do what it should\n", stderr);
    std::_Exit(EXIT_FAILURE);
  }
}

}  // namespace paddock::test

// An operation of a program that is not optimised, or is instrumented, costs what no user of the library pays.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define PADDOCK_TEST_UNCOUNTABLE "a sanitizer's instructions would be counted too"
#elif !defined(__OPTIMIZE__)
#define PADDOCK_TEST_UNCOUNTABLE "the counts are promised for optimised builds"
#elif !defined(__x86_64__)
#define PADDOCK_TEST_UNCOUNTABLE "only x86-64 instructions are known here"
#endif

#if defined(PADDOCK_TEST_UNCOUNTABLE)

namespace paddock::test {

cost cost_of(const char*, const std::function<void()>&) { skip(PADDOCK_TEST_UNCOUNTABLE); }
extern "C" std::uint64_t paddock_test_counted_call(void (*)(), void*) noexcept { return 0; }

}  // namespace paddock::test

#else

#include <dlfcn.h>
#include <sys/ptrace.h>
#include <sys/reg.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <iostream>

// Between the breakpoints stand the call and nothing else.
asm(R"(
  .text
  .globl paddock_test_counted_call
  .type paddock_test_counted_call, @function
paddock_test_counted_call:
  sub $8, %rsp
  mov %rdi, %rax
  mov %rsi, %rdi
  int3
  call *%rax
  int3
  add $8, %rsp
  ret
  .size paddock_test_counted_call, . - paddock_test_counted_call
)");

namespace paddock::test {

namespace {

constexpr std::uint8_t breakpoint = 0xcc;

[[noreturn]] void give_up(const char* why) {
  std::fprintf(stderr, "nothing was counted: %s\n", why);
  std::abort();  // The child goes with its tracer.
}

enum class instruction { other, locked, fence, syscall };

bool is_legacy_prefix(std::uint8_t byte) {
  constexpr std::array<std::uint8_t, 11> prefixes{0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3};
  return std::find(prefixes.begin(), prefixes.end(), byte) != prefixes.end();
}

instruction decode(const std::uint8_t* code) {
  bool lock = false;
  bool other_meaning = false;  // 66, F2 and F3 make other instructions of the fences' opcodes.
  for (; is_legacy_prefix(*code); ++code) {
    lock = lock || *code == 0xf0;
    other_meaning = other_meaning || *code == 0x66 || *code == 0xf2 || *code == 0xf3;
  }
  if ((*code & 0xf0U) == 0x40) {
    ++code;  // REX
  }
  const auto operand_is_memory = [](std::uint8_t modrm) { return modrm >> 6U != 3; };
  if (lock || ((code[0] == 0x86 || code[0] == 0x87) && operand_is_memory(code[1]))) {
    return instruction::locked;
  }
  if (code[0] == 0x0f && code[1] == 0x05) {
    return instruction::syscall;
  }
  // 0F AE /5, /6 and /7, with registers.
  if (code[0] == 0x0f && code[1] == 0xae && code[2] >= 0xe8 && !other_meaning) {
    return instruction::fence;
  }
  return instruction::other;
}

/// Where functions of libc begin. From the next object on: this program's own symbol could be a stub.
template <std::size_t Count>
class function_set {
 public:
  explicit function_set(const std::array<const char*, Count>& names) {
    std::transform(names.begin(), names.end(), begins_.begin(),
                   [](const char* name) { return ::dlsym(RTLD_NEXT, name); });
  }
  [[nodiscard]] bool contains(const void* code) const {
    return std::find(begins_.begin(), begins_.end(), code) != begins_.end();
  }

 private:
  std::array<const void*, Count> begins_{};
};

class tracee {
 public:
  explicit tracee(pid_t pid) : pid_(pid) {}

  /// The wait status after the next stop or the end.
  [[nodiscard]] int wait() const {
    int status = 0;
    while (::waitpid(pid_, &status, __WALL) != pid_) {
      if (errno != EINTR) {
        give_up("waitpid failed");
      }
    }
    return status;
  }
  void end_with_tracer() const { call(PTRACE_SETOPTIONS, 0, PTRACE_O_EXITKILL); }
  void go_on() const { call(PTRACE_CONT, 0, 0); }

  /// Counts from behind one breakpoint to behind the next.
  [[nodiscard]] cost step_to_breakpoint() const {
    static const function_set allocators(
        std::array{"malloc", "calloc", "realloc", "aligned_alloc", "memalign", "posix_memalign"});
    static const function_set deallocators(std::array{"free"});
    cost counted;
    for (;;) {
      // The child is a copy of this process: its code stands at the same addresses here.
      const auto at = reg(RIP);
      // NOLINTNEXTLINE(performance-no-int-to-ptr): a register of another process is a number.
      const auto* const code = reinterpret_cast<const std::uint8_t*>(at);
      if (*code == breakpoint) {
        call(PTRACE_POKEUSER, RIP * sizeof(long), at + 1);
        return counted;
      }
      ++counted.instructions;
      counted.events.allocations += allocators.contains(code) ? 1U : 0U;
      counted.events.frees += deallocators.contains(code) ? 1U : 0U;
      switch (decode(code)) {
        case instruction::locked: ++counted.events.locked; break;
        case instruction::fence: ++counted.events.fences; break;
        case instruction::syscall: counted.events.syscalls.push_back(reg(RAX)); break;
        case instruction::other: break;
      }
      call(PTRACE_SINGLESTEP, 0, 0);
      if (const int status = wait(); !WIFSTOPPED(status) || WSTOPSIG(status) != SIGTRAP) {
        give_up("the operation did not return");
      }
    }
  }

 private:
  [[nodiscard]] long reg(int which) const {
    errno = 0;
    const long value = ::ptrace(PTRACE_PEEKUSER, pid_, static_cast<long>(which) * static_cast<long>(sizeof(long)), 0);
    if (errno != 0) {
      give_up("PTRACE_PEEKUSER failed");
    }
    return value;
  }
  template <class Request, class Address, class Data>
  void call(Request request, Address address, Data data) const {
    if (::ptrace(request, pid_, static_cast<long>(address), static_cast<long>(data)) != 0) {
      give_up("ptrace failed");
    }
  }

  pid_t pid_;
};

[[noreturn]] void run_child(const std::function<void()>& body) {
  if (::ptrace(PTRACE_TRACEME, 0, 0, 0) != 0) {
    std::_Exit(skip_exit_code);
  }
  char nothing = 0;
  counted([](char&) {}, nothing);  // What every call costs.
  body();
  body();
  std::_Exit(EXIT_SUCCESS);
}

}  // namespace

cost cost_of(const char* name, const std::function<void()>& body) {
  std::fflush(nullptr);
  const pid_t pid = ::fork();
  if (pid == 0) {
    run_child(body);
  }
  if (pid < 0) {
    give_up("fork failed");
  }
  const tracee child(pid);
  // The breakpoints: that before an empty function, those around the body's first run, which is not stepped through,
  // and that before its second. What is stepped through goes past the one at its end.
  cost empty;
  cost result;
  int stops = 0;
  int status = child.wait();
  for (; WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP; status = child.wait()) {
    switch (++stops) {
      case 1:
        child.end_with_tracer();
        empty = child.step_to_breakpoint();
        break;
      case 4: result = child.step_to_breakpoint(); break;
      default: break;
    }
    child.go_on();
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == skip_exit_code) {
    skip("ptrace(2) is not permitted here");
  }
  if (!WIFEXITED(status) || WEXITSTATUS(status) != EXIT_SUCCESS) {
    give_up("the body did not get to its end");
  }
  if (stops != 4) {
    give_up("a body calls counted() once");
  }
  result.instructions -= empty.instructions;
  std::cout << name << ": " << result << '\n';
  return result;
}

}  // namespace paddock::test

#endif
