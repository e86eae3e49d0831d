// SPDX-License-Identifier: BSL-1.0
// How soon a bridge with 10,000 pending descriptors tells that one of them is done, beside a bare epoll loop with as
// many: from right before the signal until the callback, with the watching thread asleep in epoll_wait on a core of its
// own. Kernel fences come from a kernel with sw_sync, a timeline each, so that one of them can be signaled alone; a
// kernel without has eventfds. Both loops have to keep a descriptor that is ready from waking them again; the bare
// one does so after its callback, and asks nobody how the fence ended.
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <paddock/base/uapi/ioctl_number.hpp>
#include <paddock/kernel/bridged_event.hpp>
#include <paddock/kernel/fence_bridge.hpp>
#include <paddock/kernel/sync_file.hpp>

#include "../support/batch.hpp"
#include "../support/cores.hpp"
#include "../support/duo.hpp"

namespace paddock::bench {
namespace {

constexpr std::size_t pending = 10000;
/// Longer than a processor without work takes to lie down.
constexpr auto nap = std::chrono::microseconds(200);

void must(bool condition, const char* what) {
  if (!condition) {
    std::perror(what);
    std::abort();
  }
}

/// As many descriptors as this process may have.
std::uint64_t raise_descriptor_limit() {
  rlimit limit{};
  must(::getrlimit(RLIMIT_NOFILE, &limit) == 0, "getrlimit");
  rlimit more = limit;
  more.rlim_max = std::max<rlim_t>(limit.rlim_max, 4 * pending);
  more.rlim_cur = more.rlim_max;
  if (::setrlimit(RLIMIT_NOFILE, &more) != 0) {  // Only who is privileged goes beyond.
    more.rlim_cur = more.rlim_max = limit.rlim_max;
    must(::setrlimit(RLIMIT_NOFILE, &more) == 0, "setrlimit");
  }
  return more.rlim_cur;
}

// --- what is pending
// --------------------------------------------------------------------------------------------------

/// Each is done when it was written to.
class eventfds {
 public:
  static constexpr std::uint64_t descriptors = 1;
  [[nodiscard]] static const char* lacking() { return nullptr; }

  [[nodiscard]] unique_fd make(std::size_t index) {
    unique_fd made = unique_fd::adopt(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    must(made.valid(), "eventfd");
    fds_[index] = made.get();
    return made;
  }
  void signal(std::size_t index) const {
    const std::uint64_t one = 1;
    must(::write(fds_[index], &one, sizeof one) == sizeof one, "write");
  }

  /// One of them as a completion of paddock's.
  class watched {
   public:
    watched(const kernel::fence_bridge& bridge, unique_fd event)
        : event_(*kernel::bridged_event::watch(bridge, std::move(event))) {}
    void add(fence_callback& node) const {
      must(event_.fence().add_callback(node) == add_outcome::added, "a pending event");
    }

   private:
    kernel::bridged_event event_;
  };

 private:
  std::array<int, pending> fds_{};
};

/// Each is done when its timeline is one further.
class sync_files {
 public:
  static constexpr std::uint64_t descriptors = 2;
  [[nodiscard]] static const char* lacking() {
    return ::access("/sys/kernel/debug/sync/sw_sync", R_OK | W_OK) == 0 ? nullptr : "this kernel has no sw_sync";
  }

  [[nodiscard]] unique_fd make(std::size_t index) {
    line& on = lines_[index];
    if (!on.fd.valid()) {
      on.fd = unique_fd::adopt(::open("/sys/kernel/debug/sync/sw_sync", O_RDWR | O_CLOEXEC));
    }
    create_argument argument{};
    argument.value = on.signaled + 1;
    must(::ioctl(on.fd.get(), uapi::iowr<create_argument>('W', 0), &argument) == 0, "sw_sync");
    return unique_fd::adopt(argument.fence);
  }
  void signal(std::size_t index) {
    std::uint32_t by = 1;
    ++lines_[index].signaled;
    must(::ioctl(lines_[index].fd.get(), uapi::iow<std::uint32_t>('W', 1), &by) == 0, "sw_sync");
  }

  class watched {
   public:
    watched(const kernel::fence_bridge& bridge, unique_fd file)
        : fence_(*bridge.import_(kernel::sync_file::adopt_new(std::move(file)))) {}
    void add(fence_callback& node) const { must(fence_->add_callback(node) == add_outcome::added, "a pending fence"); }

   private:
    fence_ptr fence_;
  };

 private:
  struct create_argument {
    std::uint32_t value;
    char name[32];
    std::int32_t fence;
  };
  struct line {
    unique_fd fd;
    std::uint32_t signaled{0};
  };
  std::array<line, pending> lines_;
};

/// Timelines are kept from one repetition to the next: with them would go what is pending on them.
template <class Source>
Source& source_of() {
  static Source& one = *new Source;
  return one;
}

/// When the watching thread learned of the signal.
struct note {
  std::atomic<bool> is_told{false};
  clock::time_point when;

  void tell() noexcept {
    when = clock::now();
    is_told.store(true, std::memory_order_release);
  }
};

// --- who watches
// ------------------------------------------------------------------------------------------------------

/// A loop over epoll_wait, in a thread on the second core, until it is destroyed.
class loop_thread {
 public:
  /// `step` gets what is ready of `epoll`.
  template <class Step>
  loop_thread(borrowed_fd epoll, Step step)
      : end_(unique_fd::adopt(::eventfd(0, EFD_CLOEXEC))), thread_([this, epoll, step] {
          stay_on(1);
          std::array<epoll_event, 64> ready{};
          for (;;) {
            const int count = ::epoll_wait(epoll.get(), ready.data(), static_cast<int>(ready.size()), -1);
            for (int i = 0; i < count; ++i) {
              if (ready[static_cast<std::size_t>(i)].data.ptr == this) {
                return;
              }
              step(ready[static_cast<std::size_t>(i)]);
            }
          }
        }) {
    epoll_event wanted{};
    wanted.events = EPOLLIN;
    wanted.data.ptr = this;
    must(::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, end_.get(), &wanted) == 0, "epoll_ctl");
  }
  loop_thread(const loop_thread&) = delete;
  loop_thread& operator=(const loop_thread&) = delete;
  ~loop_thread() {
    const std::uint64_t one = 1;
    must(::write(end_.get(), &one, sizeof one) == sizeof one, "write");
    thread_.join();
  }

 private:
  unique_fd end_;
  std::thread thread_;
};

[[nodiscard]] unique_fd make_epoll() {
  unique_fd made = unique_fd::adopt(::epoll_create1(EPOLL_CLOEXEC));
  must(made.valid(), "epoll_create1");
  return made;
}

/// The peer.
template <class Source>
class bare_loop {
 public:
  explicit bare_loop(Source& of) : of_(of) {
    for (std::size_t i = 0; i < pending; ++i) {
      arm(i);
    }
  }
  /// Makes a new one in the place of one that is done.
  void arm(std::size_t index) {
    entry& at = entries_[index];
    while (at.is_queued.load(std::memory_order_acquire)) {
      detail::spin_pause();
    }
    at.fd = of_.make(index);
    at.is_queued.store(true, std::memory_order_relaxed);
    epoll_event wanted{};
    wanted.events = EPOLLIN;
    wanted.data.ptr = &at;
    must(::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, at.fd.get(), &wanted) == 0, "epoll_ctl");
  }
  [[nodiscard]] note& told(std::size_t index) { return entries_[index].told; }
  void signal_rest() noexcept {}

 private:
  struct entry {
    unique_fd fd;
    note told;
    void (*callback)(entry&) noexcept = [](entry& self) noexcept { self.told.tell(); };
    std::atomic<bool> is_queued{false};
  };
  void ready(entry& at) noexcept {
    at.callback(at);
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, at.fd.get(), nullptr);
    at.is_queued.store(false, std::memory_order_release);
  }

  Source& of_;
  std::array<entry, pending> entries_;
  const unique_fd epoll_ = make_epoll();
  loop_thread thread_{epoll_, [this](const epoll_event& each) { ready(*static_cast<entry*>(each.data.ptr)); }};
};

/// A bridge with its own thread, or, `InLoop`, in an event loop like the peer's.
template <class Source, bool InLoop>
class bridged_loop {
 public:
  explicit bridged_loop(Source& of) : of_(of) {
    if constexpr (InLoop) {
      epoll_event wanted{};
      wanted.events = EPOLLIN;
      must(::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, bridge_.fd().get(), &wanted) == 0, "epoll_ctl");
    }
    stay_on(1);  // The bridge's thread begins with the first, and stays where that was added.
    arm(0);
    stay_on(0);
    for (std::size_t i = 1; i < pending; ++i) {
      arm(i);
    }
  }
  void arm(std::size_t index) {
    entry& at = entries_[index];
    at.retire();  // The callback may still be returning.
    at.on.emplace(bridge_, of_.make(index));
    at.on->add(at);
  }
  [[nodiscard]] note& told(std::size_t index) { return entries_[index].told; }
  /// The kernel has promised that they complete: until then the bridge keeps them.
  void signal_rest() {
    for (std::size_t i = 0; i < pending; ++i) {
      entries_[i].told.is_told = false;
      of_.signal(i);
    }
    for (entry& each : entries_) {
      while (!each.told.is_told.load(std::memory_order_acquire)) {
        std::this_thread::yield();
      }
    }
  }

 private:
  struct entry : fence_callback {
    entry() noexcept
        : fence_callback(
              [](fence_callback& node, const fence_outcome&) noexcept { static_cast<entry&>(node).told.tell(); }) {}
    entry(const entry&) = delete;
    entry& operator=(const entry&) = delete;
    ~entry() { retire(); }
    note told;
    std::optional<typename Source::watched> on;
  };

  Source& of_;
  const kernel::fence_bridge bridge_ =
      InLoop ? *kernel::fence_bridge::for_event_loop() : *kernel::fence_bridge::create();
  std::array<entry, pending> entries_;
  const unique_fd epoll_ = make_epoll();
  std::optional<loop_thread> thread_ =
      InLoop ? std::optional<loop_thread>(std::in_place, epoll_,
                                          [this](const epoll_event&) { static_cast<void>(bridge_.dispatch()); })
             : std::nullopt;
};

// --- the measurement
// --------------------------------------------------------------------------------------------------

template <class Source, class Loop>
void wake(benchmark::State& state) {
  if (!has_two_cores(state)) {
    return;
  }
  if (const char* const lacking = Source::lacking(); lacking != nullptr) {
    state.SkipWithError((std::string("left out: ") + lacking).c_str());
    return;
  }
  static const std::uint64_t limit = raise_descriptor_limit();
  if (limit < Source::descriptors * pending + 100) {
    state.SkipWithError("left out: this process may not have so many descriptors");
    return;
  }
  Source& source = source_of<Source>();
  for ([[maybe_unused]] auto repetition : state) {
    stay_on(0);
    const auto loop = std::make_unique<Loop>(source);
    std::minstd_rand random(1);
    std::vector<double> latency;
    const int wakes = 10 * chosen.sleeps;
    for (int i = -10; i < wakes; ++i) {
      const std::size_t index = random() % pending;
      note& told = loop->told(index);
      told.is_told = false;
      // Not asleep itself: this core is to be awake when it signals.
      for (const auto until = clock::now() + nap; clock::now() < until;) {
        detail::spin_pause();
      }
      const auto began = clock::now();
      source.signal(index);
      while (!told.is_told.load(std::memory_order_acquire)) {
        std::this_thread::yield();
      }
      if (i >= 0) {  // The first ones warm up.
        latency.push_back(nanoseconds(told.when - began));
      }
      loop->arm(index);
    }
    loop->signal_rest();
    state.SetIterationTime(median(latency) * 1e-9);
    state.counters["ns"] = median(latency);
    state.counters["p99_ns"] = quantile(latency, 0.99);
  }
}

template <class Source>
void add_rows(const std::string& row) {
  add_row(row, "paddock", wake<Source, bridged_loop<Source, false>>);
  add_row(row, "paddock, event loop", wake<Source, bridged_loop<Source, true>>);
  add_row(row, "bare epoll loop", wake<Source, bare_loop<Source>>);
}

const bool registered = [] {
  add_rows<sync_files>("bridge: wake of 10,000 sync_files");
  add_rows<eventfds>("bridge: wake of 10,000 eventfds");
  return true;
}();

}  // namespace
}  // namespace paddock::bench
