// SPDX-License-Identifier: BSL-1.0
// Caches are looked after when the other side has touched the bytes, and not more often.
#include <chrono>
#include <thread>
#include <utility>

#include <paddock/buffer/attachment.hpp>
#include <paddock/buffer/cpu_access.hpp>

#include "buffers.hpp"
#include "catch.hpp"
#include "fences.hpp"
#include "policies.hpp"

namespace paddock {
namespace {

using namespace test;  // NOLINT(google-build-using-namespace): the tests are about these.
PADDOCK_TEST_POLICIES
using count = buffer_statistics::what;

/// Memory with caches that somebody has to look after.
struct cached_exporter : archetype_exporter {
  explicit cached_exporter(exporter_log& into) noexcept : log(&into) {}
  [[nodiscard]] result<void> sync_for_device(const storage&, direction) noexcept {
    ++log->syncs_for_device;
    return log->refuse_cpu ? result<void>(fail(errc::io, "test")) : result<void>();
  }
  [[nodiscard]] result<void> sync_for_cpu(const storage&, direction) noexcept {
    ++log->syncs_for_cpu;
    return log->refuse_cpu ? result<void>(fail(errc::io, "test")) : result<void>();
  }
  exporter_log* log;
};
static_assert(caching_exporter<cached_exporter>);

/// Brackets, as a kernel dma-buf has them.
struct bracketed_exporter : archetype_exporter {
  explicit bracketed_exporter(exporter_log& into) noexcept : log(&into) {}
  [[nodiscard]] result<void> begin_cpu_access(access) noexcept {
    ++log->cpu_begins;
    return log->refuse_cpu ? result<void>(fail(errc::io, "test")) : result<void>();
  }
  [[nodiscard]] result<void> end_cpu_access(access) noexcept {
    ++log->cpu_ends;
    return {};
  }
  exporter_log* log;
};
static_assert(bracketing_exporter<bracketed_exporter>);

using cached_buffer = dma_buf<cached_exporter>;

template <access Access>
void use_by_cpu(const buffer_ptr<cached_buffer>& buffer) {
  auto opened = cpu_access<Access>::begin(*buffer);
  REQUIRE(opened);
  CHECK(opened->finish());
}
template <class Attachment>
void use_by_device(Attachment& at, direction dir) {
  auto m = at.map(dir);
  REQUIRE(m);
  CHECK(at.unmap(std::move(*m)));
}

TEST_CASE("cache: CPU and device in turns make the fewest operations that are right") {
  exporter_log log;
  const auto buffer = make_buffer(cached_exporter(log));
  archetype_device dev;
  attachment<cached_buffer, archetype_device> at;
  REQUIRE(at.attach(buffer, dev));

  use_by_device(at, direction::to_device);  // What cleared the pages is in the CPU's cache.
  CHECK(log.syncs_for_device == 1);
  for (int i = 0; i < 10; ++i) {
    use_by_device(at, direction::to_device);  // Nobody wrote since.
    use_by_cpu<access::read>(buffer);
  }
  CHECK(log.syncs_for_device == 1);
  CHECK(log.syncs_for_cpu == 0);

  use_by_cpu<access::write>(buffer);
  use_by_cpu<access::write>(buffer);
  use_by_device(at, direction::to_device);
  use_by_device(at, direction::to_device);
  CHECK(log.syncs_for_device == 2);

  use_by_device(at, direction::from_device);
  CHECK(log.syncs_for_device == 2);  // No line of the CPU is dirty.
  use_by_cpu<access::read>(buffer);
  use_by_cpu<access::read>(buffer);
  CHECK(log.syncs_for_cpu == 1);

  use_by_device(at, direction::bidirectional);
  use_by_cpu<access::read_write>(buffer);
  use_by_device(at, direction::bidirectional);
  CHECK(log.syncs_for_cpu == 2);
  CHECK(log.syncs_for_device == 3);
  CHECK(buffer->statistics().of(count::syncs_for_device) == 3);
  CHECK(buffer->statistics().of(count::syncs_for_cpu) == 2);
}

TEST_CASE("cache: a mapping that stays is looked after for each job that is committed") {
  exporter_log log;
  const auto buffer = make_buffer(cached_exporter(log));
  archetype_device dev;
  attachment<cached_buffer, archetype_device> at;
  REQUIRE(at.attach(buffer, dev));
  const auto m = at.map(direction::from_device);
  REQUIRE(m);
  use_by_cpu<access::read>(buffer);
  CHECK(log.syncs_for_cpu == 1);
  for (int job = 0; job < 3; ++job) {
    {
      const auto held = buffer->lock();
      REQUIRE(buffer->reservation().reserve(*held, 1));
      const fence_ptr done = make_fence();
      CHECK((*at.dependencies(*held, access::write))->is_signaled());
      REQUIRE(at.commit(*held, done, access::write));
      CHECK(*at.dependencies(*held, access::write) == done);
      done->signal();
    }
    use_by_cpu<access::read>(buffer);
    use_by_cpu<access::read>(buffer);
  }
  CHECK(log.syncs_for_cpu == 4);
}

TEST_CASE("cache: operations on the copy of a bounce are counted as all others") {
  struct cached_bar : revoking_test_exporter {
    explicit cached_bar(exporter_log& into) noexcept : log(&into) {}
    [[nodiscard]] result<void> sync_for_device(const storage&, direction) noexcept {
      ++log->syncs_for_device;
      return {};
    }
    [[nodiscard]] result<void> sync_for_cpu(const storage&, direction) noexcept {
      ++log->syncs_for_cpu;
      return {};
    }
    exporter_log* log;
  };
  exporter_log log;
  const auto buffer = make_buffer(cached_bar(log));
  archetype_device dev;
  attachment<dma_buf<cached_bar>, archetype_device, revocable> at;
  REQUIRE(at.attach(buffer, dev));
  const auto held = buffer->lock();
  auto* const armed = *at.arm(*held, [](auto&, const resv_lock&) noexcept {});
  auto m = armed->map(*held, direction::bidirectional);
  REQUIRE(m);
  CHECK(armed->unmap(*held, std::move(*m)));
  CHECK(buffer->statistics().of(count::bounces) == 1);
  CHECK(log.syncs_for_device > 1);  // For the copy, and for the engine that made it.
  CHECK(log.syncs_for_cpu > 1);
  CHECK(buffer->statistics().of(count::syncs_for_device) == static_cast<std::uint64_t>(log.syncs_for_device));
  CHECK(buffer->statistics().of(count::syncs_for_cpu) == static_cast<std::uint64_t>(log.syncs_for_cpu));
}

TEST_CASE("cache: explicit means when it is asked for, and coherent never") {
  exporter_log log;
  const auto buffer = make_buffer<cached_exporter, sync_explicit>(cached_exporter(log));
  using buffer_type = dma_buf<cached_exporter, sync_explicit>;
  archetype_device dev;
  test_device snooping;
  attachment<buffer_type, archetype_device> at;
  attachment<buffer_type, test_device> seeing;
  REQUIRE(at.attach(buffer, dev));
  REQUIRE(seeing.attach(buffer, snooping));
  {
    const auto unused = seeing.map(direction::bidirectional);
    REQUIRE(unused);
  }
  const auto m = at.map(direction::bidirectional);
  REQUIRE(m);
  CHECK(log.syncs_for_device == 0);
  CHECK(at.sync_for_device(*m, direction::bidirectional));
  CHECK(log.syncs_for_device == 1);
  {
    auto opened = cpu_access<access::read>::begin(*buffer);
    REQUIRE(opened);
  }
  CHECK(log.syncs_for_cpu == 0);
  CHECK(at.sync_for_cpu(*m, direction::from_device));
  CHECK(log.syncs_for_cpu == 1);
  CHECK(at.sync_for_cpu(*m, direction::from_device));  // Who asks by name gets it, whatever is known of jobs.
  CHECK(log.syncs_for_cpu == 2);
  CHECK(at.sync_for_device(*m, direction::to_device));
  CHECK(log.syncs_for_device == 2);
}

TEST_CASE("cache: a job that is committed to the buffer counts as a write of a device, also while it runs") {
  exporter_log log;
  const auto buffer = make_buffer<cached_exporter, no_auto_fence>(cached_exporter(log));
  const fence_ptr job = make_fence();
  {
    const auto held = buffer->lock();
    REQUIRE(buffer->reservation().reserve(*held, 1));
    REQUIRE(buffer->commit(*held, job, access::write));
  }
  for (int look = 1; look <= 2; ++look) {
    REQUIRE(cpu_access<access::read>::begin(*buffer));
    CHECK(log.syncs_for_cpu == look);  // It may have written since.
  }
  job->signal();
  REQUIRE(cpu_access<access::read>::begin(*buffer));
  REQUIRE(cpu_access<access::read>::begin(*buffer));
  CHECK(log.syncs_for_cpu == 3);
}

TEST_CASE("cache: mappings whose jobs are not committed may write at any time") {
  exporter_log log;
  const auto buffer = make_buffer(cached_exporter(log));
  archetype_device dev;
  attachment<cached_buffer, archetype_device, no_auto_fence> at;
  REQUIRE(at.attach(buffer, dev));
  auto m = at.map(direction::from_device);
  REQUIRE(m);
  use_by_cpu<access::read>(buffer);
  use_by_cpu<access::read>(buffer);
  CHECK(log.syncs_for_cpu == 2);
  REQUIRE(at.unmap(std::move(*m)));
  use_by_cpu<access::read>(buffer);
  use_by_cpu<access::read>(buffer);
  CHECK(log.syncs_for_cpu == 3);
}

TEST_CASE("cache: an operation that failed is made again") {
  exporter_log log;
  const auto buffer = make_buffer(cached_exporter(log));
  archetype_device dev;
  attachment<cached_buffer, archetype_device> at;
  REQUIRE(at.attach(buffer, dev));
  log.refuse_cpu = true;
  CHECK(code_of(at.map(direction::bidirectional)) == errc::io);
  log.refuse_cpu = false;
  use_by_device(at, direction::bidirectional);
  CHECK(log.syncs_for_device == 2);
  log.refuse_cpu = true;
  CHECK(code_of(cpu_access<access::read>::begin(*buffer)) == errc::io);
  log.refuse_cpu = false;
  use_by_cpu<access::read>(buffer);
  CHECK(log.syncs_for_cpu == 2);
}

TEST_CASE("cache: fences and caches are apart: no_auto_fence waits for nobody and keeps caches right") {
  exporter_log log;
  const auto buffer = make_buffer<cached_exporter, no_auto_fence>(cached_exporter(log));
  const fence_ptr job = make_fence();
  {
    const auto held = buffer->lock();
    REQUIRE(buffer->reservation().reserve(*held, 1));
    REQUIRE(buffer->commit(*held, job, access::write));
  }
  archetype_device dev;
  attachment<dma_buf<cached_exporter, no_auto_fence>, archetype_device> at;
  REQUIRE(at.attach(buffer, dev));
  REQUIRE(at.map(direction::bidirectional));
  CHECK(log.syncs_for_device == 1);
  CHECK(cpu_access<access::read>::begin(*buffer));
  CHECK(log.syncs_for_cpu == 1);
  CHECK(buffer->statistics().of(count::waits) == 0);
  job->signal();
}

TEST_CASE("cache: every access by CPU is bracketed, and one that fails is not open") {
  exporter_log log;
  const auto buffer = make_buffer(bracketed_exporter(log));
  {
    auto opened = cpu_access<access::write>::begin(*buffer);
    REQUIRE(opened);
    CHECK(log.cpu_begins == 1);
    CHECK(log.cpu_ends == 0);
  }
  CHECK(log.cpu_ends == 1);
  CHECK(buffer->statistics().of(count::syncs_for_cpu) == 1);
  CHECK(buffer->statistics().of(count::syncs_for_device) == 1);
  log.refuse_cpu = true;
  CHECK(code_of(cpu_access<access::write>::begin(*buffer)) == errc::io);
  CHECK(log.cpu_ends == 1);
  CHECK(buffer->statistics().of(count::syncs_for_cpu) == 2);
  CHECK(buffer->statistics().of(count::syncs_for_device) == 1);
}

TEST_CASE("cache: an access by CPU waits for jobs, as its kind demands") {
  const auto buffer = make_buffer(archetype_exporter());
  const fence_ptr reader = make_fence();
  {
    const auto held = buffer->lock();
    REQUIRE(buffer->reservation().reserve(*held, 1));
    REQUIRE(buffer->commit(*held, reader, access::read));
  }
  CHECK(cpu_access<access::read>::begin(*buffer));
  CHECK(buffer->statistics().of(count::waits) == 0);
  std::thread device([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    reader->signal();
  });
  CHECK(cpu_access<access::write>::begin(*buffer));
  CHECK(reader->is_signaled());
  CHECK(buffer->statistics().of(count::waits) == 1);
  device.join();
}

}  // namespace
}  // namespace paddock
