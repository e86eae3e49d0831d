// SPDX-License-Identifier: BSL-1.0
// Runs the suites of the model, as the library is or with one thing broken.
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <CLI/CLI.hpp>

#include <model.hpp>

namespace {

using namespace paddock::model;

struct order_name {
  std::string_view name;
  std::memory_order order;
};
constexpr order_name order_names[]{{"relaxed", std::memory_order_relaxed},
                                   {"acquire", std::memory_order_acquire},
                                   {"release", std::memory_order_release},
                                   {"acq_rel", std::memory_order_acq_rel}};

constexpr struct {
  std::string_view name;
  damage what;
} damages[]{{"lost_wake", damage::lost_wake},
            {"blind_sleep", damage::blind_sleep},
            {"split_exchange", damage::split_exchange},
            {"one_identity", damage::one_identity},
            {"no_light_fence", damage::no_light_fence},
            {"no_heavy_fence", damage::no_heavy_fence},
            {"no_fence_in_join", damage::no_fence_in_join},
            {"no_fence_in_stamp", damage::no_fence_in_stamp},
            {"no_fence_in_enter", damage::no_fence_in_enter}};

[[nodiscard]] std::string_view name_of(std::memory_order order) {
  for (const order_name& known : order_names) {
    if (known.order == order) {
      return known.name;
    }
  }
  return "seq_cst";
}

[[nodiscard]] std::string describe(search how) {
  if (how.how == search::kind::chance) {
    return "by chance";
  }
  return how.amount == unbounded ? "all" : "all with up to " + std::to_string(how.amount) + " forced switches";
}

/// What ORDER=WEAKER asks for.
struct weakening {
  named_order* order;
  std::memory_order weaker;
};
/// Empty: there is no such order, or that is not weaker.
[[nodiscard]] std::optional<weakening> parse_weakening(std::string_view wish) {
  const auto equals = std::min(wish.find('='), wish.size());
  const std::string_view name = wish.substr(0, equals);
  const std::string_view strength = wish.substr(std::min(equals + 1, wish.size()));
  for (named_order* order = named_order::first(); order != nullptr; order = order->next()) {
    for (const order_name& known : order_names) {
      const bool is_half = order->real() == std::memory_order_acq_rel &&
                           (known.order == std::memory_order_acquire || known.order == std::memory_order_release);
      const bool is_none = (order->real() == std::memory_order_acquire || order->real() == std::memory_order_release) &&
                           known.order == std::memory_order_relaxed;
      const bool is_partial = order->real() == std::memory_order_seq_cst && known.order == std::memory_order_acq_rel;
      if (order->name() == name && known.name == strength && (is_half || is_none || is_partial)) {
        return weakening{order, known.order};
      }
    }
  }
  return std::nullopt;
}

[[nodiscard]] std::optional<damage> parse_damage(std::string_view wish) {
  for (const auto& known : damages) {
    if (known.name == wish) {
      return known.what;
    }
  }
  return std::nullopt;
}

/// True when the suite passes; a failure is shown step by step.
[[nodiscard]] bool passes(const registered& suite, search how) {
  std::ostream nowhere(nullptr);
  const auto began = std::chrono::steady_clock::now();
  const search_result result = suite.run(how, nowhere);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
  std::cout << suite.subject() << ", " << suite.name() << ": " << rl::test_result_str(result.verdict) << ", "
            << result.schedules << " schedules, " << describe(how) << ", " << took.count() << " s" << std::endl;
  if (result.verdict == rl::test_result_success) {
    return true;
  }
  static_cast<void>(suite.run(how, std::cout));
  return false;
}

/// Which suites are asked for; an empty word asks for all.
struct selection {
  std::string subject;
  std::string name;
  [[nodiscard]] bool has(const registered& suite) const {
    return (subject.empty() || subject == suite.subject()) && (name.empty() || name == suite.name());
  }
};

/// True when every one of these suites passes.
[[nodiscard]] bool run_sound(const selection& wanted, std::optional<unsigned> switches, unsigned by_chance) {
  bool sound = true;
  bool any = false;
  for (const registered* suite = registered::first(); suite != nullptr; suite = suite->next()) {
    if (wanted.has(*suite)) {
      any = true;
      sound = passes(*suite, {search::kind::tree, switches.value_or(suite->switches())}) &&
              passes(*suite, {search::kind::chance, by_chance}) && sound;
    }
  }
  if (!any) {
    std::cerr << "there is no such suite\n";
  }
  return any && sound;
}

/// How the suite ends. In a process of its own, since what is broken may well crash.
struct ending {
  bool failed;
  std::string words;
};
[[nodiscard]] ending try_out(const registered& suite) {
  const pid_t child = ::fork();
  if (child == 0) {
    std::ostream nowhere(nullptr);
    std::_Exit(suite.run({search::kind::chance, 20'000}, nowhere).verdict);
  }
  int status = 0;
  if (child < 0 || ::waitpid(child, &status, 0) != child) {
    std::perror("fork");
    std::exit(2);
  }
  if (WIFSIGNALED(status)) {
    return {true, "signal " + std::to_string(WTERMSIG(status))};
  }
  const auto verdict = static_cast<rl::test_result_e>(WEXITSTATUS(status));
  return {verdict != rl::test_result_success, rl::test_result_str(verdict)};
}

/// True when one of these suites notices what `break_it` does, which `mend` undoes. A suite that fails anyway
/// proves nothing. `only_first`: the others are not asked then.
template <class Break, class Mend>
[[nodiscard]] bool run_broken(const selection& wanted, bool only_first, Break break_it, Mend mend) {
  bool noticed = false;
  for (const registered* suite = registered::first(); suite != nullptr && !(noticed && only_first);
       suite = suite->next()) {
    if (!wanted.has(*suite)) {
      continue;
    }
    break_it();
    const ending broken = try_out(*suite);
    mend();
    const bool counts = broken.failed && !try_out(*suite).failed;
    noticed = noticed || counts;
    std::cout << suite->subject() << ", " << suite->name() << ": " << broken.words
              << (broken.failed && !counts ? ", as without the defect" : "") << '\n';
  }
  return noticed;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Runs the lock-free cores through the schedules of the Relacy Race Detector.");
  selection wanted;
  std::string weakened;
  std::string broken;
  std::optional<unsigned> switches;
  unsigned by_chance = 100'000;
  bool orders = false;
  bool only_first = false;
  app.add_option("subject", wanted.subject, "Only the suites of this file");
  app.add_option("--suite", wanted.name, "Only the suite of this name");
  app.add_option("--switches", switches, "Search schedules with up to so many forced switches between threads");
  app.add_option("--chance", by_chance, "Try so many schedules by chance");
  app.add_option("--weaken", weakened, "ORDER=WEAKER: succeeds when a suite fails with this memory order");
  std::string defects;
  for (const auto& known : damages) {
    defects.append(defects.empty() ? "" : ", ").append(known.name);
  }
  app.add_option("--break", broken, "Succeeds when a suite fails with this defect: " + defects);
  app.add_flag("--first", only_first, "With --weaken or --break: end at the first suite that fails");
  app.add_flag("--orders", orders, "List the memory orders");
  CLI11_PARSE(app, argc, argv);

  if (orders) {
    for (const named_order* order = named_order::first(); order != nullptr; order = order->next()) {
      std::cout << order->name() << ' ' << name_of(order->real()) << '\n';
    }
    return 0;
  }
  if (!weakened.empty()) {
    const auto wish = parse_weakening(weakened);
    if (!wish) {
      std::cerr << "no such order, or not weaker: " << weakened << '\n';
      return 2;
    }
    const auto weaken = [&] { wish->order->use(wish->weaker); };
    const auto mend = [&] { wish->order->use(wish->order->real()); };
    return run_broken(wanted, only_first, weaken, mend) ? 0 : 1;
  }
  if (!broken.empty()) {
    const auto wish = parse_damage(broken);
    if (!wish) {
      std::cerr << "no such defect: " << broken << '\n';
      return 2;
    }
    const auto damaged = [&] { present_damage = *wish; };
    const auto mend = [] { present_damage = damage::none; };
    return run_broken(wanted, only_first, damaged, mend) ? 0 : 1;
  }
  return run_sound(wanted, switches, by_chance) ? 0 : 1;
}
