// SPDX-License-Identifier: BSL-1.0
// The CPU reads a buffer: what is around the bytes. The peer is a lock for readers, which keeps writers out but knows
// of no jobs.
#include <pthread.h>

#include <cstddef>

#include <paddock/buffer/cpu_access.hpp>
#include <paddock/buffer/dma_buf.hpp>
#include <paddock/buffer/memory_exporter.hpp>

#include "../support/batch.hpp"
#include "../support/buffers.hpp"

namespace paddock::bench {
namespace {

using reading = cpu_access<access::read>;

/// `begin` opens it, each time.
template <class Begin>
void read_by_access(benchmark::State& state, Begin begin) {
  bool good = true;
  measure(
      state, batch_size, [] {},
      [&] {
        for (std::size_t i = 0; i < batch_size; ++i) {
          auto opened = begin();
          good = good && opened.has_value();
          if (good) {
            keep(opened->bytes().data());
            good = opened->finish().has_value();
          }
        }
      });
  if (!good) {
    state.SkipWithError("every access should succeed");
  }
}

[[nodiscard]] buffer_ptr<dma_buf<memory_exporter>> make_buffer() {
  return *dma_buf<memory_exporter>::create(memory_exporter(buffer_bytes));
}

void read(benchmark::State& state) {
  const auto buffer = make_buffer();
  read_by_access(state, [&] { return reading::begin(*buffer); });
}

void read_locked(benchmark::State& state) {
  const auto buffer = make_buffer();
  const auto held = buffer->lock();
  read_by_access(state, [&] { return reading::begin(*held, *buffer); });
}

void read_by_rwlock(benchmark::State& state) {
  pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;
  measure(
      state, batch_size, [] {},
      [&] {
        for (std::size_t i = 0; i < batch_size; ++i) {
          ::pthread_rwlock_rdlock(&lock);
          clobber(&lock);
          ::pthread_rwlock_unlock(&lock);
        }
      });
}

const bool registered = [] {
  constexpr const char* row = "buffer: read by CPU";
  add_row(row, "paddock", read);
  add_row(row, "paddock, lock held", read_locked);
  add_row(row, "pthread_rwlock", read_by_rwlock);
  return true;
}();

}  // namespace
}  // namespace paddock::bench
