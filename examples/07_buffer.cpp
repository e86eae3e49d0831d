// SPDX-License-Identifier: BSL-1.0
// A buffer that lives in a card's memory, a capture engine that fills it, and the card's reset: the engine is told, its
// job ends, and what it had mapped is dead; then the buffer comes back and the engine attaches anew. Prints each step.
#include <cstdio>
#include <thread>

#include <paddock/paddock.hpp>

using namespace std::chrono_literals;

/// The card's memory, which goes when the card is reset. Real ones are vfio::bar_exporter and vfio::pool_exporter.
struct card_memory {
  static constexpr paddock::p2p_segments p2p = paddock::p2p_segments::always;
  static constexpr bool revokes = true;  // Importers have to be revocable, or nothing compiles.
  using residency = paddock::revocable;

  paddock::result<paddock::storage_ptr> initial_storage() noexcept {
    PADDOCK_TRY(auto pages, paddock::allocate_memory(4096));
    paddock::segment all = pages->segments().front();
    all.kind = paddock::storage_kind::device_memory;
    return paddock::make_storage(std::move(pages), all);
  }
};
using card_buffer = paddock::dma_buf<card_memory>;

/// An engine that writes where it is told.
struct capture_engine {
  struct mapped {
    std::byte* at{nullptr};
  };
  using cache = paddock::coherent;
  paddock::result<mapped> map(const paddock::storage_ptr& bytes, paddock::direction) noexcept {
    return mapped{bytes->segments().front().address};
  }
  paddock::result<void> unmap(mapped&) noexcept { return {}; }
  paddock::route_choice reach(const paddock::segment&, paddock::direction) const noexcept {
    return {true, paddock::fallback::none, nullptr};  // Both sit below one switch.
  }
};

paddock::result<void> capture(const paddock::buffer_ptr<card_buffer>& shared, capture_engine& engine, int picture) {
  using use = paddock::attachment<card_buffer, capture_engine, paddock::revocable>;
  use at;
  paddock::mapping<capture_engine> where;
  paddock::fence_context ring("capture", 1s);
  PADDOCK_TRY(const paddock::fence_ptr job, ring.create());
  PADDOCK_TRY_VOID(at.attach(shared, engine, paddock::direction::from_device));
  {
    PADDOCK_TRY(const auto held, shared->lock());
    PADDOCK_TRY(auto* const armed, at.arm(held, [fence = job.get()](use&, const paddock::resv_lock&) noexcept {
      std::printf("  the engine is told, and stops\n");
      fence->fail(paddock::errc::canceled);
    }));
    PADDOCK_TRY(where, armed->map(held, paddock::direction::from_device));
    PADDOCK_TRY_VOID(shared->reservation().reserve(held, 1));
    PADDOCK_TRY_VOID(at.commit(held, job, paddock::access::write));
  }
  where.mapped().at[0] = std::byte(picture);
  std::printf("picture %d: the engine runs\n", picture);
  if (picture == 1) {
    std::jthread reset([&] { static_cast<void>(shared->revoke(paddock::deadline::in(10ms))); });
    PADDOCK_TRY_VOID(wait(*job, paddock::deadline::in(1s)));
    reset.join();
    std::printf("  the job ended with: %s; the mapping is %s\n", name(job->error().code),
                where.status() == paddock::mapping_status::revoked ? "revoked" : "live");
    return {};
  }
  job->signal();
  PADDOCK_TRY(const auto seen, paddock::mmio_access<paddock::access::read>::begin(*shared));
  std::printf("  the CPU sees picture %d\n", seen.window().read8(0));
  return {};
}

paddock::result<void> run() {
  PADDOCK_TRY(const auto shared, card_buffer::create(card_memory()));
  capture_engine engine;
  PADDOCK_TRY_VOID(capture(shared, engine, 1));
  PADDOCK_TRY_VOID(shared->restore());
  return capture(shared, engine, 2);
}

int main() {
  const auto done = run();
  if (!done) {
    fmt::print("{}\n", done.error());
  }
  return done ? 0 : 1;
}
