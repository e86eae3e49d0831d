// SPDX-License-Identifier: BSL-1.0
/// \file
/// Behind base/checking.hpp: who holds what, in which order kinds of locks are taken, and what is wrong with it. For
/// checked programs only, so it takes its time and its memory. One a shared object.
#pragma once

#if defined(PADDOCK_CHECKED)

#include <dlfcn.h>
#include <link.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include <paddock/version.hpp>

namespace PADDOCK_NAMESPACE {

/// Where something was done: the last argument of what is checked, filled in by itself.
struct place {
  const char* file{""};
  const char* function{""};
  unsigned line{0};

  [[nodiscard]] static constexpr place here(const char* in_file = __builtin_FILE(),
                                            const char* in_function = __builtin_FUNCTION(),
                                            unsigned at_line = __builtin_LINE()) noexcept {
    return {in_file, in_function, at_line};
  }
};

/// Which rule was broken.
enum class rule : std::uint8_t {
  lock_order,                ///< Two locks are taken in both orders, or two reservations without one context for both.
  self_deadlock,             ///< A lock is taken by the thread that has it.
  wait_while_signaling,      ///< A wait for a fence on the way to signal one.
  lock_while_signaling,      ///< A lock on the way to signal a fence, under which somebody may wait for one.
  allocate_while_signaling,  ///< An allocation on the way to signal a fence.
  monitor_while_signaling,   ///< A memory monitor on the way to signal a fence, which may wait for that very fence.
  inside_monitor,            ///< A lock or an allocation inside a memory monitor, which that may need itself.
  unbalanced_section,        ///< Left by another thread, in another order, twice, or never.
  abandoned_fence,           ///< Its last reference was dropped while it was pending.
  unbalanced_use,            ///< An attachment goes while it is pinned or mapped.
};

/// What was found. The places are where it happened, and where what it conflicts with did.
struct violation {
  rule broken{rule::lock_order};
  const char* text{""};  ///< One sentence that names both; as long as the handler runs.
  place first;
  place second;
};

/// Called in the thread that broke the rule, without any lock but those that the thread has: it must not lock the
/// reservation that it is told of, nor throw.
using violation_handler = void (*)(const violation&) noexcept;

/// The default: a few lines on stderr.
inline void print_violation(const violation& v) noexcept {
  std::fprintf(stderr, "paddock: %s\n  here:    %s:%u in %s\n  against: %s:%u in %s\n", v.text, v.first.file,
               v.first.line, v.first.function, v.second.file, v.second.line, v.second.function);
}

namespace detail {

/// Kinds of locks. What is not a lock stands for one: waiting for a fence takes it, being on the way to signal one has
/// it.
enum class lock_kind : std::uint32_t { reservation = 0, allocation = 1, monitor = 2, fence = 3, first_of_users = 4 };

class checker {
 public:
  static violation_handler set_handler(violation_handler handler) noexcept {
    return state().handler.exchange(handler != nullptr ? handler : &print_violation);
  }

  /// The thread is about to take a lock, and then has it. `context` tells apart who may have several of a kind.
  static void acquire(lock_kind kind, const void* object, const void* context, place at) {
    judge(kind, object, context, at);
    acquired(kind, object, context, at);
  }
  /// As acquire() for a lock that was there to be had: nobody waited, so no order is learned.
  static void acquired(lock_kind kind, const void* object, const void* context, place at) {
    if (held_stack* const own = stack(); own != nullptr) {
      own->held.push_back({kind, object, context, at, std::make_shared<std::atomic<bool>>(true)});
    }
  }
  /// A reservation was not to be had after acquire().
  static void refused(const void* reservation) { static_cast<void>(drop_latest(lock_kind::reservation, reservation)); }
  /// It was: whoever leaves it, which may be another thread, ends it for this one.
  static void locked(const void* reservation) {
    held_stack* const own = stack();
    if (own != nullptr && !own->held.empty()) {
      shared& s = state();
      const std::lock_guard guard(s.mutex);
      const entry& taken = own->held.back();
      s.reservations[reservation] = {taken.alive, taken.context, taken.at};
    }
  }
  static void unlocked(const void* reservation) {
    static_cast<void>(drop_latest(lock_kind::reservation, reservation));
    shared& s = state();
    const std::lock_guard guard(s.mutex);
    if (const auto found = s.reservations.find(reservation); found != s.reservations.end()) {
      *found->second.alive = false;
      s.reservations.erase(found);
    }
  }
  /// A reservation ends. One that is still locked would leave its lock to whatever comes to its address.
  [[gnu::noinline]] static void reservation_gone(const void* reservation) {
    const void* const caller = __builtin_return_address(0);
    place at;
    {
      shared& s = state();
      const std::lock_guard guard(s.mutex);
      const auto found = s.reservations.find(reservation);
      if (found == s.reservations.end()) {
        return;
      }
      at = found->second.at;
    }
    unlocked(reservation);
    report(rule::unbalanced_section, "a reservation goes while it is locked", code_place(caller), at);
  }
  /// A context ends. Kernel: ww_acquire_fini.
  [[gnu::noinline]] static void context_gone(const void* context) {
    const void* const caller = __builtin_return_address(0);
    std::vector<place> locked_at;
    {
      shared& s = state();
      const std::lock_guard guard(s.mutex);
      for (const auto& [reservation, by] : s.reservations) {
        if (by.context == context) {
          locked_at.push_back(by.at);
        }
      }
    }
    for (const place& each : locked_at) {
      report(rule::unbalanced_section, "a context goes while a reservation is locked by it", code_place(caller), each);
    }
  }
  /// Takes and leaves it at once.
  static void touch(lock_kind kind, place at) { judge(kind, nullptr, nullptr, at); }

  /// Leaves a section or a lock of the program's own, which was entered there.
  [[gnu::noinline]] static void release(lock_kind kind, const void* object, place entered) {
    const void* const caller = __builtin_return_address(0);
    held_stack* const own = stack();
    if (own == nullptr) {
      return;
    }
    const bool is_section = kind == lock_kind::fence || kind == lock_kind::monitor;
    if (is_section && is_held(*own, kind, object)) {
      const auto last = std::find_if(own->held.rbegin(), own->held.rend(), [](const entry& each) {
        return each.kind == lock_kind::fence || each.kind == lock_kind::monitor;
      });
      if (last->object != object) {
        report(rule::unbalanced_section, "a section is left before one that was entered after it", entered, last->at);
      }
    }
    if (!drop_latest(kind, object)) {
      report(rule::unbalanced_section, "a section is left by a thread that is not in it", code_place(caller), entered);
    }
  }

  /// A kind of the program's own, by the text of its name.
  [[nodiscard]] static lock_kind kind_of(const char* name) {
    shared& s = state();
    const std::lock_guard guard(s.mutex);
    for (auto i = static_cast<std::size_t>(lock_kind::first_of_users); i < s.names.size(); ++i) {
      if (s.names[i] == name) {
        return static_cast<lock_kind>(i);
      }
    }
    s.names.emplace_back(name);
    return static_cast<lock_kind>(s.names.size() - 1);
  }

  static void fence_made(const void* fence, place at) {
    shared& s = state();
    const std::lock_guard guard(s.mutex);
    s.fences[fence] = at;
  }
  static void fence_gone(const void* fence) {
    shared& s = state();
    const std::lock_guard guard(s.mutex);
    s.fences.erase(fence);
  }
  /// `text` is one sentence.
  static void unbalanced_use(const char* text, place here, place begun) {
    report(rule::unbalanced_use, text, here, begun);
  }
  /// `caller`: an address in the code that dropped it.
  static void fence_abandoned(const void* fence, const char* name, std::uint64_t context, std::uint64_t seqno,
                              const void* caller) {
    place made;
    {
      shared& s = state();
      const std::lock_guard guard(s.mutex);
      if (const auto found = s.fences.find(fence); found != s.fences.end()) {
        made = found->second;
      }
    }
    const std::string text =
        fmt::format("the last reference of the pending fence {} {:x}:{} is dropped", name, context, seqno);
    report(rule::abandoned_fence, text.c_str(), code_place(caller), made);
  }

 private:
  /// Where no argument tells: the program or shared object, and the function as far as its linker kept the name, else
  /// where in that file the code is. Its words live as long as the program, as those of other places do.
  [[nodiscard]] static place code_place(const void* code) {
    place at;
    Dl_info found{};
    link_map* loaded = nullptr;
    if (::dladdr1(code, &found, reinterpret_cast<void**>(&loaded), RTLD_DL_LINKMAP) != 0) {
      at.file = found.dli_fname != nullptr ? found.dli_fname : "";
      at.function = found.dli_sname;
      if (at.function == nullptr) {
        // Before the address where the call returns to, for tools that ask for the line of an instruction.
        const auto offset = reinterpret_cast<std::uintptr_t>(code) - 1 - (loaded != nullptr ? loaded->l_addr : 0);
        shared& s = state();
        const std::lock_guard guard(s.mutex);
        at.function = s.words.insert(fmt::format("the code at {:#x} (see addr2line)", offset)).first->c_str();
      }
    }
    return at;
  }
  struct entry {
    lock_kind kind;
    const void* object;
    const void* context;
    place at;
    std::shared_ptr<std::atomic<bool>> alive;
  };
  /// What the thread has. One that ends in a section has forgotten to leave it.
  struct held_stack {
    held_stack() = default;
    held_stack(const held_stack&) = delete;
    held_stack& operator=(const held_stack&) = delete;
    ~held_stack() {
      ended = true;
      for (const entry& each : held) {
        if (each.kind == lock_kind::fence || each.kind == lock_kind::monitor) {
          static constexpr place here{"", "the end of the thread", 0};
          report(rule::unbalanced_section, "a thread ends in a section that it never left", here, each.at);
        }
      }
    }
    std::vector<entry> held;
  };
  /// Of a reservation that is locked: what says so to the thread that locked it, by which context, and where.
  struct owned {
    std::shared_ptr<std::atomic<bool>> alive;
    const void* context{nullptr};
    place at;
  };
  /// That one kind was taken under another: where that was held, and where this was taken.
  struct edge {
    place held;
    place taken;
  };
  struct shared {
    shared() {
      names = {"a reservation", "memory", "a memory monitor", "a fence"};
      // What may happen anywhere at any time, whether or not this run shows it.
      static constexpr place allocation{"(always)", "memory is allocated under a reservation's lock", 0};
      static constexpr place reclaim{"(always)", "an allocation takes memory from users of monitors", 0};
      static constexpr place notify{"(always)", "a memory monitor waits for fences", 0};
      edges[{lock_kind::reservation, lock_kind::allocation}] = {allocation, allocation};
      edges[{lock_kind::allocation, lock_kind::monitor}] = {reclaim, reclaim};
      edges[{lock_kind::monitor, lock_kind::fence}] = {notify, notify};
    }
    std::atomic<violation_handler> handler{&print_violation};
    std::mutex mutex;
    std::vector<std::string> names;
    std::map<std::pair<lock_kind, lock_kind>, edge> edges;
    std::unordered_map<const void*, place> fences;
    std::unordered_map<const void*, owned> reservations;
    std::set<std::string> words;
  };

  [[nodiscard]] static shared& state() {
    static auto* const made = new shared;  // Never freed: threads and statics end after it would be.
    return *made;
  }
  /// Null while the thread ends: what it still does is not judged.
  [[nodiscard]] static held_stack* stack() {
    if (ended) {
      return nullptr;
    }
    static thread_local held_stack own;
    return &own;
  }
  static inline thread_local constinit bool ended = false;

  [[nodiscard]] static bool is_held(const held_stack& own, lock_kind kind, const void* object) {
    return std::any_of(own.held.begin(), own.held.end(),
                       [&](const entry& each) { return each.kind == kind && each.object == object; });
  }
  [[nodiscard]] static bool drop_latest(lock_kind kind, const void* object) {
    held_stack* const own = stack();
    if (own == nullptr) {
      return true;
    }
    for (std::size_t i = own->held.size(); i-- > 0;) {
      if (own->held[i].kind == kind && own->held[i].object == object) {
        own->held.erase(own->held.begin() + static_cast<std::ptrdiff_t>(i));
        return true;
      }
    }
    return false;
  }

  static void report(rule broken, const char* text, place first, place second) {
    state().handler.load()(violation{broken, text, first, second});
  }

  /// The first step of a way from one kind to another along what was taken under what; null: there is none.
  [[nodiscard]] static const edge* way(const shared& s, lock_kind from, lock_kind to) {
    std::vector<std::pair<lock_kind, const edge*>> reached{{from, nullptr}};
    for (std::size_t i = 0; i < reached.size(); ++i) {
      for (const auto& [kinds, how] : s.edges) {
        if (kinds.first != reached[i].first) {
          continue;
        }
        const edge* const first = reached[i].second != nullptr ? reached[i].second : &how;
        if (kinds.second == to) {
          return first;
        }
        bool known = false;
        for (const auto& each : reached) {
          known = known || each.first == kinds.second;
        }
        if (!known) {
          reached.emplace_back(kinds.second, first);
        }
      }
    }
    return nullptr;
  }

  [[nodiscard]] static rule rule_for(lock_kind held, lock_kind taken) {
    if (held == lock_kind::fence) {
      switch (taken) {
        case lock_kind::fence: return rule::wait_while_signaling;
        case lock_kind::allocation: return rule::allocate_while_signaling;
        case lock_kind::monitor: return rule::monitor_while_signaling;
        default: return rule::lock_while_signaling;
      }
    }
    return held == lock_kind::monitor ? rule::inside_monitor : rule::lock_order;
  }

  static void judge(lock_kind kind, const void* object, const void* context, place at) {
    held_stack* const own = stack();
    if (own == nullptr) {
      return;
    }
    std::erase_if(own->held, [](const entry& each) { return !*each.alive; });
    const std::vector<entry> held = own->held;  // The handler may take locks of its own.
    for (const entry& each : held) {
      if (each.kind == kind && object != nullptr && each.object == object) {
        if (context != nullptr && each.context == context) {
          continue;  // That is answered with an error.
        }
        report(rule::self_deadlock, "a lock is taken by the thread that has it", at, each.at);
        continue;
      }
      if (each.kind == lock_kind::reservation && kind == lock_kind::reservation) {
        if (context == nullptr || each.context != context) {
          report(rule::lock_order, "a second reservation is locked without the context of the first one", at, each.at);
        }
        continue;
      }
      shared& s = state();
      std::unique_lock guard(s.mutex);
      const edge* const back = each.kind == kind ? nullptr : way(s, kind, each.kind);
      if (back == nullptr && each.kind != kind) {
        s.edges.try_emplace({each.kind, kind}, edge{each.at, at});
        continue;
      }
      const std::string text = fmt::format(
          "{} is {} while {}, which may need the other way round", s.names[static_cast<std::size_t>(kind)],
          kind == lock_kind::fence ? "waited for" : "taken",
          each.kind == lock_kind::fence ? std::string("a fence is about to be signaled")
                                        : fmt::format("{} is held", s.names[static_cast<std::size_t>(each.kind)]));
      // What is so always has no place of its own: the one that counts is where the other thing was entered.
      const place against = back != nullptr && back->taken.line != 0 ? back->taken : each.at;
      guard.unlock();
      report(rule_for(each.kind, kind), text.c_str(), at, against);
    }
  }
};

}  // namespace detail

/// Replaces the handler; nullptr restores the default. Returns the previous one. Thread-safety: any thread, any time.
inline violation_handler set_violation_handler(violation_handler handler) noexcept {
  return detail::checker::set_handler(handler);
}

}  // namespace PADDOCK_NAMESPACE

#endif
