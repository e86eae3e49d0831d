// SPDX-License-Identifier: BSL-1.0
// Every system call of what needs no device fails in every way, in front of the real kernel: bridges over eventfds, the
// channel between processes, watched memory, windows on BARs. What needs devices is in ../vm/cases/faults_*.cpp, and
// dma-bufs over a kernel that is not there in kernel.cpp.
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <thread>

#include <paddock/buffer/memory_monitor.hpp>
#include <paddock/detail/process_page.hpp>
#include <paddock/fence/wait.hpp>
#include <paddock/kernel/bridged_event.hpp>
#include <paddock/kernel/buffer_channel.hpp>
#include <paddock/kernel/fence_bridge.hpp>
#include <paddock/kernel/memfd.hpp>
#include <paddock/kernel/userfault.hpp>
#include <paddock/vfio/coherent_buffer.hpp>
#include <paddock/vfio/container.hpp>
#include <paddock/vfio/diagnose.hpp>
#include <paddock/vfio/iommufd.hpp>

#include "address_spaces.hpp"
#include "catch.hpp"
#include "fault_runs.hpp"
#include "memory_watches.hpp"

// In the namespace, because at global scope `access` is also access(2).
namespace paddock::kernel {

namespace {

using namespace std::chrono_literals;
using test::fail_each_call;
using test::faults::unaffected;

/// An eventfd of the test's, and a descriptor of it to give away.
struct event {
  unique_fd kept;
  unique_fd given;

  static event make() {
    const unaffected by_the_test;
    event made;
    made.kept = unique_fd::adopt(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    made.given = *unique_fd::dup(made.kept);
    return made;
  }
  void happen() const {
    const unaffected by_the_test;
    const std::uint64_t one = 1;
    REQUIRE(::write(kept.get(), &one, sizeof one) == sizeof one);
  }
};

/// Waits for what a thread of the bridge's finds out.
void await(const user_fence& what) {
  const deadline until = test::long_enough();
  while (!what.is_signaled()) {
    REQUIRE_FALSE(until.passed());
    std::this_thread::sleep_for(1ms);
  }
}

result<void> watch_events_in_a_loop() {
  PADDOCK_TRY(const auto bridge, fence_bridge::for_event_loop());
  event first = event::make();
  event second = event::make();
  PADDOCK_TRY(const auto happens, bridged_event::watch(bridge, std::move(first.given)));
  PADDOCK_TRY(auto dropped, bridged_event::watch(bridge, std::move(second.given)));
  first.happen();
  PADDOCK_TRY(const std::size_t told, bridge.dispatch());
  REQUIRE(told == 1);
  REQUIRE(happens.fence().is_signaled());
  dropped.cancel(ETIME);
  REQUIRE(dropped.fence().is_signaled());
  return {};
}

result<void> watch_events_by_a_thread() {
  event first = event::make();
  event second = event::make();
  std::optional<bridged_event> left;
  {
    PADDOCK_TRY(const auto bridge, fence_bridge::create());
    PADDOCK_TRY(const auto happens, bridged_event::watch(bridge, std::move(first.given)));
    first.happen();
    await(happens.fence());
    PADDOCK_TRY(const auto loop, fence_bridge::for_event_loop());
    PADDOCK_TRY(left, bridged_event::watch(loop, std::move(second.given)));
  }
  second.happen();  // The event loop is gone: a thread has taken over.
  await(left->fence());
  return {};
}

result<void> wait_by_an_event() {
  const fence_ptr pending = test::make_fence();
  PADDOCK_TRY(const wait_status ended, wait(*pending, deadline::in(1ms), eventfd_wait{}));
  REQUIRE(ended == wait_status::timed_out);
  pending->signal();
  return {};
}

result<void> send_and_receive() {
  const deadline until = deadline::in(10s);
  const buffer_id some{1, 2};
  PADDOCK_TRY(auto ends, buffer_channel::pair());
  PADDOCK_TRY(auto here, buffer_channel::adopt(std::move(ends.first).release()));
  auto& there = ends.second;
  PADDOCK_TRY_VOID(here.send_revoke(some, until));
  PADDOCK_TRY_VOID(here.send(sync_file::already_signaled(), 7, until));
  PADDOCK_TRY_VOID(here.send_released(some, until));
  PADDOCK_TRY_VOID(there.await_released(some, until));
  PADDOCK_TRY(const auto asked, there.receive(until));
  REQUIRE(std::get<revoke_request>(asked).buffer == some);
  PADDOCK_TRY(const auto fence, there.receive(until));
  REQUIRE(std::get<shared_fence>(fence).tag == 7);

  // Descriptors of no dma-bufs are refused, and none of them stays.
  detail::wire_message forged;
  forged.kind = detail::message_kind::buffers;
  forged.buffer_count = 2;
  {
    const unaffected by_the_test;
    const event two = event::make();
    test::send_raw(here.fd(), &forged, sizeof forged, {two.kept.get(), two.given.get()});
  }
  const auto foreign = there.receive(until);
  REQUIRE_FALSE(foreign);
  if (foreign.error() != errc::bad_fd) {
    return fail(foreign.error());
  }
  // Nobody reads, and then nobody is there.
  const auto nothing = there.receive(deadline::in(1ms));
  REQUIRE_FALSE(nothing);
  if (nothing.error() != errc::timed_out) {
    return fail(nothing.error());
  }
  { [[maybe_unused]] const auto closed = std::move(here); }
  const auto gone = there.receive(until);
  REQUIRE_FALSE(gone);
  return gone.error() == errc::disconnected ? result<void>() : fail(gone.error());
}

/// Whether events of memory are to be had here.
void need_userfaults() {
  if (const auto opened = userfault::open(); !opened) {
    test::skip(fmt::format("userfaultfd cannot be used here: {}", opened.error()).c_str());
  }
}

result<void> watch_memory() {
  std::optional<test::pages> memory;
  {
    const unaffected own;
    memory.emplace(std::size_t{4});
  }
  struct unmapped_by_the_test {
    std::optional<test::pages>& what;
    ~unmapped_by_the_test() {
      const unaffected own;
      what.reset();
    }
  } const at_the_end{memory};
  const reservation fences;
  test::watch_log log;
  PADDOCK_TRY(auto events, userfault::open());
  PADDOCK_TRY(auto monitor, memory_monitor<userfault>::create(events, {.patience = 1s, .own_thread = true}));
  PADDOCK_TRY(auto taken, monitor.watch(memory->part(0, 1), fences, log.unmap(), log.tell()));
  PADDOCK_TRY(auto released, monitor.watch(memory->part(1, 1), fences, log.unmap(), log.tell()));
  PADDOCK_TRY(auto dropped, monitor.watch(memory->part(2, 1), fences, log.unmap(), log.tell()));
  PADDOCK_TRY_VOID(taken.use([]() noexcept {}));
  {
    // Held until the monitor's thread has dealt with it: whatever fails there, this thread goes on.
    const unaffected own;
    REQUIRE(::madvise(memory->part(0, 1).data(), memory->part(0, 1).size(), MADV_DONTNEED) == 0);
  }
  REQUIRE(taken.status() == memory_status::stale);
  // A thread whose own calls fail gives all watches up, rather than to hold somebody for ever.
  if (const auto done = released.release(deadline::in(10s)); !done && done.error() != errc::revoked) {
    return done;
  }
  dropped.reset();
  return {};
}

result<void> map_registers() {
  test::test_space space;
  {
    PADDOCK_TRY(auto queue, vfio::coherent_buffer::create(space, 8192));
    queue.bytes()[0] = std::byte{1};
    PADDOCK_TRY(auto other, vfio::coherent_buffer::create(space, 4096));
    queue = std::move(other);
  }
  REQUIRE(space.kernel.mapped == 0);
  unique_fd file;
  {
    const unaffected by_the_test;
    file = unique_fd::adopt(::memfd_create("bar", MFD_CLOEXEC));
    REQUIRE(::ftruncate(file.get(), 16384) == 0);
  }
  vfio::region info;
  info.size = 16384;
  info.readable = true;
  info.writable = true;
  info.areas = {{0, 4096}, {8192, 8192}};
  PADDOCK_TRY(const auto window, vfio::detail::bar_window::create(file, info));
  PADDOCK_TRY_VOID(window->poison());
  PADDOCK_TRY_VOID(window->restore(file));
  PADDOCK_TRY(const auto off, vfio::detail::bar_window::create(file, info, false));
  return {};
}

result<void> use_memory() {
  PADDOCK_TRY(const auto memory, memfd::create(4096, "fault"));
  PADDOCK_TRY(auto bytes, memory.map());
  PADDOCK_TRY_VOID(bytes.unmap());
  PADDOCK_TRY(const auto again, memfd::adopt(test::dup_by_the_test(memory.fd())));
  PADDOCK_TRY(const unsigned seals, again.seals());
  REQUIRE((seals & F_SEAL_SHRINK) != 0);
  return {};
}

result<void> find_the_page_of_all_shared_objects() {
  PADDOCK_TRY(int* const value, detail::process_page<int>("paddock-fault-page"));
  // The library never unmaps such a page, so this test does.
  struct unmapped {
    int* value;
    ~unmapped() {
      const std::uintptr_t page = reinterpret_cast<std::uintptr_t>(value) / detail::page_size() * detail::page_size();
      ::munmap(reinterpret_cast<void*>(page), detail::page_size());  // NOLINT(performance-no-int-to-ptr)
    }
  } const at_the_end{value};
  PADDOCK_TRY(const int* const found, detail::process_page<int>("paddock-fault-page"));
  REQUIRE(found == value);
  return {};
}

/// Where there is no VFIO all the same comes back as typed errors.
result<void> look_for_vfio() {
  const auto is_no = [](const error& why) {
    return why == errc::unsupported_by_kernel || why == errc::permission || why == errc::not_found ||
           why == errc::unsupported_by_platform;
  };
  if (const auto made = vfio::container::create(); !made && !is_no(made.error())) {
    return fail(made.error());
  }
  if (const auto made = vfio::iommufd::create(); !made && !is_no(made.error())) {
    return fail(made.error());
  }
  static_cast<void>(vfio::probe_iommufd());
  const pci::address nobody{0, 0xfe, 0x1f, 7};
  REQUIRE_FALSE(vfio::group_of(nobody));
  REQUIRE_FALSE(vfio::detail::device_node_of(nobody));
  REQUIRE_FALSE(vfio::explain_open_failure(nobody, {errc::not_found, 0, ""}).empty());
  return {};
}

}  // namespace

TEST_CASE("faults: an event loop that watches events") {
  fail_each_call({.name = "event loop", .run = watch_events_in_a_loop, .least = 5});
}
TEST_CASE("faults: a thread that watches events, and takes over from an event loop") {
  fail_each_call({.name = "thread", .run = watch_events_by_a_thread, .least = 5});
}
TEST_CASE("faults: a wait by an eventfd") { fail_each_call({.name = "wait", .run = wait_by_an_event, .least = 2}); }
TEST_CASE("faults: messages, and descriptors in them") {
  fail_each_call({.name = "channel", .run = send_and_receive, .least = 15});
}
TEST_CASE("faults: watched memory") {
  need_userfaults();
  fail_each_call({.name = "watched memory", .run = watch_memory, .least = 25});
}
TEST_CASE("faults: memory for queues, and windows on registers") {
  fail_each_call({.name = "windows", .run = map_registers, .least = 20});
}
TEST_CASE("faults: memory with a file") {
  fail_each_call({.name = "memory", .run = use_memory, .least = 7});
  fail_each_call({.name = "page", .run = find_the_page_of_all_shared_objects, .least = 9});
}
TEST_CASE("faults: a machine without VFIO, or with") {
  fail_each_call({.name = "no VFIO", .run = look_for_vfio, .least = 3});
}

}  // namespace paddock::kernel
