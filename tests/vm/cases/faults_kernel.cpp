// SPDX-License-Identifier: BSL-1.0
// Every system call of the bridges, of implicit fences and of the channel fails in every way, over dma-bufs and fences
// of a real kernel.
#include <atomic>
#include <chrono>
#include <optional>
#include <thread>
#include <utility>

#include <paddock/kernel/buffer_channel.hpp>
#include <paddock/kernel/dma_buf_info.hpp>
#include <paddock/kernel/fence_bridge.hpp>
#include <paddock/kernel/implicit_sync.hpp>
#include <paddock/kernel/import_cache.hpp>
#include <paddock/kernel/probe.hpp>
#include <paddock/resv/reservation.hpp>

#include "fault_runs.hpp"
#include "kernel_support.hpp"

// In the namespace, because at global scope `access` is also access(2).
namespace paddock::kernel {

namespace {

using namespace std::chrono_literals;
using test::faults::unaffected;

struct counter final : fence_callback {
  counter() noexcept : fence_callback(&run) {}
  counter(const counter&) = delete;
  counter& operator=(const counter&) = delete;
  ~counter() { retire(); }
  static void run(fence_callback& node, const fence_outcome&) noexcept { ++static_cast<counter&>(node).runs; }
  std::atomic<int> runs{0};
};

/// A fence of the kernel's that is pending until it is told, or goes.
class job {
 public:
  explicit job(const fenced_buffer& on) : on_(on) {
    const unaffected by_the_test;
    id_ = on.start(access::write);
  }
  job(const job&) = delete;
  job& operator=(const job&) = delete;
  ~job() { end(); }
  void end() {
    const unaffected by_the_test;
    if (!std::exchange(ended_, true)) {
      drm_uapi::vgem_fence_signal argument{id_, 0};
      static_cast<void>(::ioctl(on_.device.fd().get(), drm_uapi::fence_signal, &argument));
    }
  }
  [[nodiscard]] sync_file file() const {
    const unaffected by_the_test;
    return *on_.buffer().export_sync_file(access::read);
  }

 private:
  const fenced_buffer& on_;
  std::uint32_t id_{0};
  bool ended_{false};
};

result<void> bridge_a_fence(const fenced_buffer& on, const result<fence_bridge>& made, bool has_thread) {
  if (!made) {
    return fail(made.error());
  }
  job work(on);
  sync_file file = work.file();
  PADDOCK_TRY(auto copy, file.dup());
  PADDOCK_TRY(const fence_ptr theirs, made->import_(std::move(copy)));
  theirs->set_deadline(deadline::in(1s));
  // Whatever fails here, it is the kernel's to say when the job is done.
  REQUIRE_FALSE(theirs->poll());
  PADDOCK_TRY(const wait_status early, wait(*theirs, deadline::in(2ms)));
  REQUIRE(early == wait_status::timed_out);
  PADDOCK_TRY(const sync_file back, export_sync_file(theirs));
  work.end();
  counter told;
  if (theirs->add_callback(told) == add_outcome::added) {
    const deadline until = deadline::in(5s);
    while (told.runs == 0) {
      REQUIRE_FALSE(until.passed());
      if (has_thread) {
        std::this_thread::sleep_for(1ms);
      } else {
        PADDOCK_TRY_VOID(made->dispatch());
      }
    }
  }
  REQUIRE(theirs->is_signaled());
  // The same without a callback.
  PADDOCK_TRY(const fence_ptr again, made->import_(std::move(file)));
  PADDOCK_TRY_VOID(wait(*again, deadline::in(5s)));
  REQUIRE(again->is_signaled());
  return {};
}

result<void> bring_fences_together(const fenced_buffer& on) {
  job work(on);
  PADDOCK_TRY(const auto bridge, fence_bridge::for_event_loop());
  implicit_sync sync(on.buffer().borrow(), bridge);
  reservation ours;
  {
    PADDOCK_TRY(const resv_lock held, ours.lock());
    PADDOCK_TRY_VOID(sync.pull(held, ours));
    REQUIRE_FALSE(ours.test_signaled(usage::read));
    PADDOCK_TRY_VOID(sync.push(held, ours));
  }
  PADDOCK_TRY_VOID(sync.flush_implicit(ours, deadline::in(5s)));
  PADDOCK_TRY(const fence_ptr all, sync.export_(access::write));
  REQUIRE_FALSE(all->is_signaled());
  PADDOCK_TRY_VOID(sync.import_(all, access::write));
  PADDOCK_TRY(const wait_status early, on.buffer().wait(access::write, deadline::in(1ms)));
  REQUIRE(early == wait_status::timed_out);
  work.end();
  PADDOCK_TRY(const wait_status ended, on.buffer().wait(access::write, deadline::in(5s)));
  REQUIRE(ended == wait_status::signaled);
  return {};
}

result<void> share_buffers() {
  const deadline until = deadline::in(10s);
  PADDOCK_TRY(const auto device, udmabuf_device::open());
  PADDOCK_TRY(const auto bright, udmabuf::create(device, 8192, "bright"));
  PADDOCK_TRY(const auto color, udmabuf::create(device, 4096, "color"));
  PADDOCK_TRY(auto ends, buffer_channel::pair());
  auto& [here, there] = ends;
  const std::array<dma_buf_ref, 2> lent{bright.buffer().borrow(), color.buffer().borrow()};
  PADDOCK_TRY(const sync_file written, bright.buffer().export_sync_file(access::write));
  import_cache known;
  for (int i = 0; i < 2; ++i) {
    PADDOCK_TRY_VOID(here.send(lent, {}, 1, until));
    PADDOCK_TRY_VOID(here.send(written, 2, until));
    PADDOCK_TRY(auto got, there.receive(until));
    auto& shared = std::get<shared_buffers>(got);
    REQUIRE(shared.buffers[1].id() == color.buffer().id());
    PADDOCK_TRY(const auto kept, known.import_(std::move(shared.buffers[0])));
    PADDOCK_TRY(const auto fence, there.receive(until));
    PADDOCK_TRY_VOID(std::get<shared_fence>(fence).fence.status());
  }
  REQUIRE(known.trim() == 0);
  PADDOCK_TRY_VOID(there.send_released(bright.buffer().id(), until));
  return here.await_released(bright.buffer().id(), until);
}

result<void> probe_all() {
  for (const feature each : all_features) {
    if (const auto answered = probe(each); answered.value == answer::unknown) {
      return fail(answered.reason);
    }
  }
  return {};
}

}  // namespace

TEST_CASE("faults: a kernel fence in an event loop") {
  const vgem device;
  const auto on = fenced_buffer::make(device);
  test::fail_each_call({.name = "fence in an event loop",
                        .run = [&] { return bridge_a_fence(on, fence_bridge::for_event_loop(), false); },
                        .retries_again = true,
                        .least = 10});
}

TEST_CASE("faults: a kernel fence by a thread") {
  const vgem device;
  const auto on = fenced_buffer::make(device);
  test::fail_each_call({.name = "fence by a thread",
                        .run = [&] { return bridge_a_fence(on, fence_bridge::create(), true); },
                        .retries_again = true,
                        .least = 10});
}

TEST_CASE("faults: implicit fences") {
  const vgem device;
  const auto on = fenced_buffer::make(device);
  test::fail_each_call({.name = "implicit fences",
                        .run = [&] { return bring_fences_together(on); },
                        .retries_again = true,
                        .least = 15});
}

TEST_CASE("faults: buffers that are shared") {
  const vgem there_is_one;
  test::fail_each_call({.name = "sharing", .run = share_buffers, .retries_again = true, .least = 38});
}

TEST_CASE("faults: probes") {
  test::fail_each_call({.name = "probes", .run = probe_all, .retries_again = true, .least = 20});
}

}  // namespace paddock::kernel
