// SPDX-License-Identifier: BSL-1.0
// The kernel's table of exporters and importers: who is pinned when, who is told of what, who may map when.
#include <paddock/buffer/attachment.hpp>

#include <chrono>
#include <cstdint>
#include <cstring>
#include <memory>
#include <thread>
#include <type_traits>
#include <utility>

#include <paddock/buffer/cpu_access.hpp>
#include <paddock/buffer/cpu_device.hpp>

#include "buffers.hpp"
#include "catch.hpp"
#include "fences.hpp"
#include "policies.hpp"

namespace paddock {
namespace {

using namespace test;  // NOLINT(google-build-using-namespace): the tests are about these.
PADDOCK_TEST_POLICIES

using fixed_buffer = dma_buf<archetype_exporter>;
using pinning_buffer = dma_buf<pinning_test_exporter>;

// All orders of policies are one type, and what is not named is the default.
static_assert(std::is_same_v<attachment<fixed_buffer, test_device, movable, no_auto_fence, spin_wait>,
                             attachment<fixed_buffer, test_device, spin_wait, movable, no_auto_fence>>);
static_assert(std::is_same_v<attachment<fixed_buffer, test_device>,
                             attachment<fixed_buffer, test_device, paddock::prefer_p2p, paddock::pinned>>);
static_assert(std::is_same_v<dma_buf<archetype_exporter, revocable, futex_wait>,
                             dma_buf<archetype_exporter, futex_wait, revocable>>);
// A buffer's policies are the defaults of its attachments, but for the residency, which needs a hook.
static_assert(std::is_same_v<attachment<dma_buf<archetype_exporter, no_auto_fence, spin_wait, revocable>,
                                        test_device>::policies::fencing,
                             no_auto_fence>);
static_assert(std::is_same_v<attachment<dma_buf<archetype_exporter, revocable>, test_device>::policies::residency,
                             paddock::pinned>);
// A device that sees the CPU's caches is coherent without being asked.
static_assert(std::is_same_v<attachment<fixed_buffer, test_device>::policies::cache, chosen::coherent>);
static_assert(std::is_same_v<attachment<fixed_buffer, archetype_device>::policies::cache, paddock::sync_on_access>);
static_assert(attachment_like<attachment<fixed_buffer, test_device>&> && !attachment_like<test_device>);

struct told {
  int times{0};
};

TEST_CASE("attachment: the least exporter and the least device share a buffer") {
  const auto buffer = make_buffer(archetype_exporter());
  archetype_device importer;
  attachment<fixed_buffer, archetype_device> a;
  REQUIRE(a.attach(buffer, importer));
  auto m = a.map(direction::bidirectional);
  REQUIRE(m);
  CHECK(m->status() == mapping_status::live);
  CHECK(a.unmap(std::move(*m)));
  CHECK(a.detach());
}

TEST_CASE("attachment: static exporter, pinned importer: maps without a lock") {
  const auto buffer = make_buffer(archetype_exporter());
  test_device importer;
  attachment<fixed_buffer, test_device> a;
  REQUIRE(a.attach(buffer, importer, direction::to_device));
  const auto held = buffer->lock();  // In nobody's way.
  auto m = a.map(direction::to_device);
  REQUIRE(m);
  CHECK(m->iova(16) - m->iova() == 16);
  CHECK(importer.maps == 1);
  CHECK(a.unmap(std::move(*m)));
  CHECK(importer.unmaps == 1);
}

TEST_CASE("attachment: dynamic exporter, pinned importer: pinned from attach to detach") {
  exporter_log log;
  const auto buffer = make_buffer(pinning_test_exporter(log));
  test_device importer;
  attachment<pinning_buffer, test_device> first;
  attachment<pinning_buffer, test_device> second;
  REQUIRE(first.attach(buffer, importer));
  CHECK(log.pins == 1);
  REQUIRE(second.attach(buffer, importer));
  CHECK(log.pins == 1);  // It is told of the first and of the last.
  CHECK(first.detach());
  CHECK(log.unpins == 0);
  CHECK(second.detach());
  CHECK(log.unpins == 1);
}

TEST_CASE("attachment: an exporter that refuses to pin leaves nothing attached") {
  exporter_log log;
  log.refuse_pin = true;
  const auto buffer = make_buffer(pinning_test_exporter(log));
  test_device importer;
  attachment<pinning_buffer, test_device> a;
  CHECK(code_of(a.attach(buffer, importer)) == errc::busy);
  CHECK(!a.is_attached());
  CHECK(log.unpins == 0);
  const auto held = buffer->lock();
  CHECK(*buffer->attachments(*held) == 0);
}

TEST_CASE("attachment: dynamic exporter, movable importer that pins for a while") {
  exporter_log log;
  const auto buffer = make_buffer(pinning_test_exporter(log));
  test_device importer;
  attachment<pinning_buffer, test_device, movable> a;
  REQUIRE(a.attach(buffer, importer));
  CHECK(log.pins == 0);
  {
    const auto held = buffer->lock();
    const auto pinned = a.pin(*held);
    REQUIRE(pinned);
    CHECK(log.pins == 1);
    auto m = (*pinned)->map(*held, direction::to_device);
    REQUIRE(m);
    CHECK((*pinned)->unmap(*held, std::move(*m)));
    CHECK(a.unpin(*held));
    CHECK(log.unpins == 1);
    CHECK(code_of(a.unpin(*held)) == errc::invalid_argument);
  }
  CHECK(a.detach());
}

TEST_CASE("attachment: static exporter, movable importer: maps and maps anew without a pin") {
  const auto buffer = make_buffer(archetype_exporter());
  test_device importer;
  attachment<fixed_buffer, test_device, movable> a;
  REQUIRE(a.attach(buffer, importer));
  const auto held = buffer->lock();
  const auto armed = a.arm(*held, [](auto&, const resv_lock&) noexcept {});
  REQUIRE(armed);
  for (int i = 0; i < 3; ++i) {
    auto m = (*armed)->map(*held, direction::from_device);
    REQUIRE(m);
    CHECK((*armed)->unmap(*held, std::move(*m)));
  }
  CHECK(importer.maps == 3);
  CHECK(importer.unmaps == 3);
  CHECK(a.detach(*held));
}

TEST_CASE("attachment: static exporter, revocable importer: told once, and dead then") {
  const auto buffer = make_buffer<archetype_exporter, revocable>(archetype_exporter());
  test_device importer;
  told revoked;
  attachment<dma_buf<archetype_exporter, revocable>, test_device, revocable> a;
  REQUIRE(a.attach(buffer, importer));
  mapping<test_device> m;
  {
    const auto held = buffer->lock();
    const auto armed = a.arm(*held, [&revoked](auto&, const resv_lock&) noexcept { ++revoked.times; });
    REQUIRE(armed);
    auto made = (*armed)->map(*held, direction::from_device);
    REQUIRE(made);
    m = std::move(*made);
  }
  CHECK(buffer->revoke(deadline::now()));
  CHECK(revoked.times == 1);
  CHECK(m.status() == mapping_status::revoked);
  CHECK(importer.unmaps == 1);
  REQUIRE(buffer->restore());
  const auto held = buffer->lock();
  CHECK(code_of(a.arm(*held, [](auto&, const resv_lock&) noexcept {})) == errc::revoked);
}

TEST_CASE("attachment: dynamic exporter, movable importer: armed it pins nothing, and is told of each move") {
  exporter_log log;
  const auto buffer = make_buffer(placing_test_exporter(log));
  test_device importer;
  told moved;
  attachment<dma_buf<placing_test_exporter>, test_device, movable> a;
  REQUIRE(a.attach(buffer, importer));
  const auto held = buffer->lock();
  const auto armed = a.arm(*held, [&moved](auto&, const resv_lock&) noexcept {
    ++moved.times;
    return jobs::wait();
  });
  REQUIRE(armed);
  for (int i = 1; i <= 3; ++i) {
    const auto m = (*armed)->map(*held, direction::from_device);
    REQUIRE(m);
    CHECK(m->status() == mapping_status::live);
    CHECK(buffer->move(*held, static_cast<std::size_t>(i % 2), long_enough()));
    CHECK(moved.times == i);
    CHECK(m->status() == mapping_status::stale);
  }
  CHECK(log.pins == 0);
}

TEST_CASE("attachment: dynamic exporter, revocable importer: pinned while it is armed") {
  exporter_log log;
  using revocable_buffer = dma_buf<pinning_test_exporter, revocable>;
  const auto buffer = make_buffer<pinning_test_exporter, revocable>(pinning_test_exporter(log));
  test_device importer;
  told revoked;
  attachment<revocable_buffer, test_device, revocable> a;
  REQUIRE(a.attach(buffer, importer));
  {
    const auto held = buffer->lock();
    REQUIRE(a.arm(*held, [&revoked](auto&, const resv_lock&) noexcept { ++revoked.times; }));
    CHECK(log.pins == 1);
  }
  CHECK(buffer->revoke(deadline::now()));
  CHECK(revoked.times == 1);
  CHECK(log.unpins == 1);
  CHECK(a.detach());
  CHECK(log.unpins == 1);
}

TEST_CASE("attachment: an attachment keeps its buffer, and one that ends lets go of it") {
  exporter_log log;
  auto buffer = make_buffer(pinning_test_exporter(log));
  test_device importer;
  {
    attachment<pinning_buffer, test_device> a;
    REQUIRE(a.attach(buffer, importer));
    const auto* const kept = buffer.get();
    buffer.reset();
    CHECK(&a.buffer() == kept);
    CHECK(a.buffer().size() == buffer_bytes);
    auto m = a.map(direction::to_device);
    REQUIRE(m);
    *m = {};
    CHECK(importer.unmaps == 1);
  }
  CHECK(log.unpins == 1);  // And the buffer is gone: AddressSanitizer would tell of a leak.
}

TEST_CASE("attachment: every proof is compared with the buffer's reservation") {
  const auto buffer = make_buffer(archetype_exporter());
  const auto other = make_buffer(archetype_exporter());
  test_device importer;
  attachment<fixed_buffer, test_device, movable> a;
  REQUIRE(a.attach(buffer, importer));
  const auto hook = [](auto&, const resv_lock&) noexcept {};
  auto held = buffer->lock();
  const auto armed = a.arm(*held, hook);
  REQUIRE(armed);
  auto m = (*armed)->map(*held, direction::to_device);
  REQUIRE(m);
  const resv_lock none;
  held->unlock();
  const auto wrong = other->lock();
  for (const resv_lock* const proof : {&none, &*wrong}) {
    CHECK(code_of(a.arm(*proof, hook)) == errc::wrong_lock);
    CHECK(code_of(a.pin(*proof)) == errc::wrong_lock);
    CHECK(code_of(a.unpin(*proof)) == errc::wrong_lock);
    CHECK(code_of((*armed)->map(*proof, direction::to_device)) == errc::wrong_lock);
    CHECK(code_of((*armed)->unmap(*proof, std::move(*m))) == errc::wrong_lock);
    CHECK(m->valid());
    CHECK(code_of(a.detach(*proof)) == errc::wrong_lock);
    CHECK(code_of(buffer->storage(*proof)) == errc::wrong_lock);
    CHECK(code_of(buffer->attachments(*proof)) == errc::wrong_lock);
  }
  CHECK(importer.unmaps == 0);
  const auto again = buffer->lock();
  CHECK((*armed)->unmap(*again, std::move(*m)));
  CHECK(a.detach(*again));
}

TEST_CASE("attachment: what is asked of an attachment that is none, or is one already, is refused") {
  const auto buffer = make_buffer(archetype_exporter());
  test_device importer;
  attachment<fixed_buffer, test_device> a;
  CHECK(code_of(a.map(direction::to_device)) == errc::invalid_argument);
  CHECK(a.detach());  // Nothing to do.
  REQUIRE(a.attach(buffer, importer, direction::to_device));
  CHECK(code_of(a.attach(buffer, importer)) == errc::already_exists);
  CHECK(code_of(a.map(direction::from_device)) == errc::invalid_argument);
  CHECK(code_of(a.map(direction::bidirectional)) == errc::invalid_argument);

  attachment<fixed_buffer, test_device, movable> b;
  const auto held = buffer->lock();
  CHECK(code_of(b.arm(*held, [](auto&, const resv_lock&) noexcept {})) == errc::invalid_argument);
  CHECK(code_of(b.pin(*held)) == errc::invalid_argument);
}

TEST_CASE("attachment: a hook is armed once") {
  const auto buffer = make_buffer(archetype_exporter());
  test_device importer;
  attachment<fixed_buffer, test_device, movable> a;
  REQUIRE(a.attach(buffer, importer));
  const auto held = buffer->lock();
  const auto hook = [](auto&, const resv_lock&) noexcept {};
  REQUIRE(a.arm(*held, hook));
  CHECK(code_of(a.arm(*held, hook)) == errc::already_exists);
  CHECK(a.detach(*held));
}

TEST_CASE("attachment: a mapping of another attachment is not unmapped by this one") {
  const auto buffer = make_buffer(archetype_exporter());
  test_device importer;
  attachment<fixed_buffer, test_device> a;
  attachment<fixed_buffer, test_device> b;
  REQUIRE(a.attach(buffer, importer));
  REQUIRE(b.attach(buffer, importer));
  auto m = a.map(direction::to_device);
  REQUIRE(m);
  CHECK(code_of(b.unmap(std::move(*m))) == errc::invalid_argument);
  CHECK(m->valid());
  CHECK(a.unmap(std::move(*m)));
  CHECK(a.unmap(std::move(*m)));  // NOLINT(bugprone-use-after-move): nothing is left to unmap.
}

TEST_CASE("attachment: a device that cannot map leaves nothing mapped, and can be asked again") {
  const auto buffer = make_buffer(archetype_exporter());
  test_device importer;
  importer.refuse_map = true;
  attachment<fixed_buffer, test_device> a;
  REQUIRE(a.attach(buffer, importer));
  CHECK(code_of(a.map(direction::to_device)) == errc::limit_reached);
  importer.refuse_map = false;
  auto m = a.map(direction::to_device);
  REQUIRE(m);
  CHECK(a.unmap(std::move(*m)));
  CHECK(a.detach());
}

TEST_CASE("attachment: a mapping that is held stops a detach, and one that is dropped does not") {
  const auto buffer = make_buffer(archetype_exporter());
  test_device importer;
  attachment<fixed_buffer, test_device, movable> a;
  REQUIRE(a.attach(buffer, importer));
  auto held = buffer->lock();
  const auto armed = a.arm(*held, [](auto&, const resv_lock&) noexcept {});
  REQUIRE(armed);
  auto m = (*armed)->map(*held, direction::to_device);
  REQUIRE(m);
  CHECK(code_of(a.detach(*held)) == errc::busy);
  *m = {};  // Under the lock, which this thread has: it is parked.
  CHECK(importer.unmaps == 0);
  CHECK(a.detach(*held));
  CHECK(importer.unmaps == 1);
}

TEST_CASE("attachment: a movable mapping that is dropped is unmapped at once when nobody has the lock") {
  const auto buffer = make_buffer(archetype_exporter());
  test_device importer;
  attachment<fixed_buffer, test_device, movable> a;
  REQUIRE(a.attach(buffer, importer));
  mapping<test_device> m;
  {
    const auto held = buffer->lock();
    m = *(*a.arm(*held, [](auto&, const resv_lock&) noexcept {}))->map(*held, direction::to_device);
  }
  m = {};
  CHECK(importer.unmaps == 1);
  CHECK(a.detach());
}

TEST_CASE("attachment: a movable mapping that is dropped is unmapped by whoever leaves the lock next") {
  const auto buffer = make_buffer(archetype_exporter());
  test_device importer;
  attachment<fixed_buffer, test_device, movable> a;
  REQUIRE(a.attach(buffer, importer));
  auto held = buffer->lock();
  mapping<test_device> m = *(*a.arm(*held, [](auto&, const resv_lock&) noexcept {}))->map(*held, direction::to_device);
  std::thread([gone = std::move(m)]() mutable { gone = {}; }).join();
  CHECK(importer.unmaps == 0);
  held->unlock();
  CHECK(importer.unmaps == 1);
  CHECK(a.detach());
}

TEST_CASE("attachment: one that goes while it is mapped says so, and leaves nothing mapped") {
  static thread_local int reports = 0;
  reports = 0;
  const auto before =
      set_lost_error_handler([](const error& what) noexcept { reports += what == errc::busy ? 1 : 100; });
  const auto buffer = make_buffer(archetype_exporter());
  test_device importer;
  {
    mapping<test_device> m;
    attachment<fixed_buffer, test_device> a;
    REQUIRE(a.attach(buffer, importer));
    m = *a.map(direction::to_device);
  }
  CHECK(reports == 1);
  CHECK(importer.unmaps == 1);
  set_lost_error_handler(before);
}

TEST_CASE("attachment: auto_fence waits at map for what the direction makes it wait for, no_auto_fence does not") {
  const auto buffer = make_buffer(archetype_exporter());
  test_device importer;
  attachment<fixed_buffer, test_device> waiting;
  attachment<fixed_buffer, test_device, no_auto_fence> free;
  REQUIRE(waiting.attach(buffer, importer));
  REQUIRE(free.attach(buffer, importer));
  const fence_ptr reader = make_fence();
  {
    const auto held = buffer->lock();
    REQUIRE(buffer->reservation().reserve(*held, 1));
    REQUIRE(buffer->commit(*held, reader, access::read));
  }
  CHECK(waiting.map(direction::to_device));  // Readers do not wait for readers.
  CHECK(buffer->statistics().of(buffer_statistics::what::waits) == 0);
  CHECK(code_of(waiting.map(direction::from_device, deadline::now())) == errc::timed_out);
  CHECK(buffer->statistics().of(buffer_statistics::what::waits) == 1);
  CHECK(free.map(direction::from_device, deadline::now()));
  reader->signal();
  CHECK(waiting.map(direction::from_device, deadline::now()));
  CHECK(buffer->statistics().of(buffer_statistics::what::waits) == 1);
}

#if defined(PADDOCK_TEST_FOREIGN_POLICIES)
TEST_CASE("attachment: a user's way to wait is what is waited by") {
  const auto buffer = make_buffer(archetype_exporter());
  test_device importer;
  attachment<fixed_buffer, test_device, spin_wait> at;
  REQUIRE(at.attach(buffer, importer));
  {
    const auto held = buffer->lock();
    REQUIRE(buffer->reservation().reserve(*held, 1));
    REQUIRE(buffer->commit(*held, make_fence(), access::write));
  }
  foreign::waits = 0;
  CHECK(code_of(at.map(direction::to_device, deadline::now())) == errc::timed_out);
  CHECK(foreign::waits == 1);
}
#endif

TEST_CASE("attachment: p2p_only refuses what is not reached, and says so in the counts") {
  const auto buffer = make_buffer(revoking_test_exporter());
  test_device importer;
  importer.reaches_bars = false;
  attachment<dma_buf<revoking_test_exporter>, test_device, revocable, p2p_only> a;
  REQUIRE(a.attach(buffer, importer));
  const auto held = buffer->lock();
  CHECK(code_of(a.arm(*held, [](auto&, const resv_lock&) noexcept {})) == errc::unreachable);
  CHECK(buffer->statistics().routes().of(fallback::not_supported) == 1);
  importer.reaches_bars = true;
  CHECK(a.arm(*held, [](auto&, const resv_lock&) noexcept {}));
  CHECK(a.detach(*held));
}

TEST_CASE("attachment: the CPU is an importer whose mappings cpu_access opens") {
  const auto buffer = make_buffer(archetype_exporter());
  cpu_device cpu;
  attachment<fixed_buffer, cpu_device> a;
  REQUIRE(a.attach(buffer, cpu));
  auto m = a.map(direction::bidirectional);
  REQUIRE(m);
  {
    auto opened = cpu_access<access::write>::begin(*m);
    REQUIRE(opened);
    std::memset(opened->bytes().data(), 0x5a, opened->bytes().size());
  }
  auto read_only = a.map(direction::to_device);
  REQUIRE(read_only);
  CHECK(code_of(cpu_access<access::write>::begin(*read_only)) == errc::permission);
  auto opened = cpu_access<access::read>::begin(*read_only);
  REQUIRE(opened);
  CHECK(opened->bytes()[buffer_bytes - 1] == std::byte{0x5a});
}

TEST_CASE("attachment: one that goes while the CPU accesses its mapping says so, and holds nothing up") {
  static thread_local int reports = 0;
  reports = 0;
  const auto before = set_lost_error_handler([](const error&) noexcept { ++reports; });
  const auto buffer = make_buffer<archetype_exporter, revocable>(archetype_exporter());
  cpu_device cpu;
  mapping<cpu_device> m;
  auto at = std::make_unique<attachment<dma_buf<archetype_exporter, revocable>, cpu_device, revocable>>();
  REQUIRE(at->attach(buffer, cpu));
  {
    const auto held = buffer->lock();
    m = *(*at->arm(*held))->map(*held, direction::bidirectional);
  }
  auto opened = cpu_access<access::read>::begin(m);
  REQUIRE(opened);
  at.reset();
  CHECK(reports == 2);  // It was mapped, too.
  CHECK(opened->finish());
  CHECK(buffer->revoke(deadline::now()));  // No access is left that would be waited for.
  set_lost_error_handler(before);
}

TEST_CASE("attachment: an access by CPU that is refused does not end one that is open") {
  const auto buffer = make_buffer<archetype_exporter, revocable>(archetype_exporter());
  cpu_device cpu;
  attachment<dma_buf<archetype_exporter, revocable>, cpu_device, revocable> at;
  REQUIRE(at.attach(buffer, cpu));
  mapping<cpu_device> m;
  {
    const auto held = buffer->lock();
    m = *(*at.arm(*held))->map(*held, direction::bidirectional);
  }
  auto opened = cpu_access<access::read>::begin(m);
  REQUIRE(opened);
  {
    const auto held = buffer->lock();
    CHECK(code_of(cpu_access<access::read>::begin(m)) == errc::deadlock);
  }
  CHECK(buffer->revoke(deadline::now()));  // It is mapped no more.
  CHECK(code_of(at.detach()) == errc::busy);
  CHECK(opened->finish());
  CHECK(at.detach());
}

TEST_CASE("attachment: whose turn it is cannot be said of no mapping, or of another's") {
  const auto buffer = make_buffer(archetype_exporter());
  test_device importer;
  attachment<fixed_buffer, test_device> a;
  attachment<fixed_buffer, test_device> b;
  REQUIRE(a.attach(buffer, importer));
  REQUIRE(b.attach(buffer, importer));
  const auto m = a.map(direction::bidirectional);
  REQUIRE(m);
  CHECK(code_of(b.sync_for_device(*m, direction::to_device)) == errc::invalid_argument);
  CHECK(code_of(a.sync_for_cpu(mapping<test_device>(), direction::from_device)) == errc::invalid_argument);
  CHECK(a.sync_for_cpu(*m, direction::from_device));
}

TEST_CASE("attachment: threads that drop mappings and threads that lock lose none of them") {
  const auto buffer = make_buffer(archetype_exporter());
  constexpr int rounds = 2000;
  struct importer {
    test_device dev;
    attachment<fixed_buffer, test_device, movable> at;
    attachment<fixed_buffer, test_device, movable>::armed_type* armed{nullptr};
  };
  importer each[2];
  for (importer& one : each) {
    REQUIRE(one.at.attach(buffer, one.dev));
    const auto held = buffer->lock();
    one.armed = *one.at.arm(*held, [](auto&, const resv_lock&) noexcept {});
  }
  const auto work = [&](importer& one) {
    for (int i = 0; i < rounds; ++i) {
      mapping<test_device> m;
      {
        const auto held = buffer->lock();
        m = *one.armed->map(*held, direction::to_device);
      }
      m = {};
    }
  };
  std::thread first(work, std::ref(each[0]));
  std::thread second(work, std::ref(each[1]));
  first.join();
  second.join();
  for (importer& one : each) {
    CHECK(one.at.detach());
    CHECK(one.dev.maps == rounds);
    CHECK(one.dev.unmaps == rounds);
  }
}

}  // namespace
}  // namespace paddock
