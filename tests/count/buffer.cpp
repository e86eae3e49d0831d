// SPDX-License-Identifier: BSL-1.0
// What buffers and attachments promise of their cost: policies that are not chosen cost nothing.
#include <cstdint>
#include <optional>
#include <utility>

#include <paddock/buffer/attachment.hpp>
#include <paddock/buffer/cpu_access.hpp>

#include "buffers.hpp"
#include "catch.hpp"
#include "stepper.hpp"

using namespace paddock;
using paddock::test::cost;
using paddock::test::cost_of;
using paddock::test::counted;
using paddock::test::events;
using paddock::test::must;

namespace {

/// A device that maps as an identity: what is counted is paddock's.
struct plain_device {
  struct mapped {
    paddock::iova at{};
    [[nodiscard]] paddock::iova iova() const noexcept { return at; }
  };
  using cache = coherent;
  [[nodiscard]] result<mapped> map(const storage_ptr& s, direction) noexcept {
    return mapped{paddock::iova(reinterpret_cast<std::uintptr_t>(s->segments().front().address))};
  }
  [[nodiscard]] result<void> unmap(mapped&) noexcept { return {}; }
};

using buffer_type = dma_buf<memory_exporter>;
using movable_type = attachment<buffer_type, plain_device, movable, no_auto_fence>;

template <class... Policies>
struct use_of {
  buffer_ptr<buffer_type> buffer{test::make_buffer(memory_exporter(1))};
  plain_device dev;
  attachment<buffer_type, plain_device, Policies...> at;
  mapping<plain_device> m;
};
using pinned_use = use_of<no_auto_fence>;
using fenced_use = use_of<>;
struct movable_use {
  buffer_ptr<buffer_type> buffer{test::make_buffer(memory_exporter(1))};
  plain_device dev;
  movable_type at;
  mapping<plain_device> m;
  std::optional<resv_lock> held;
  movable_type::armed_type* armed{nullptr};
  void begin() {
    must(at.attach(buffer, dev).has_value());
    held = std::move(*buffer->lock());
    armed = *at.arm(*held, [](movable_type&, const resv_lock&) noexcept {});
  }
};

template <class Use>
bool map_pinned(Use& of) {
  auto m = of.at.map(direction::to_device);
  if (!m) {
    return false;
  }
  of.m = std::move(*m);
  return true;
}
template <class Use>
bool unmap_pinned(Use& of) {
  return of.at.unmap(std::move(of.m)).has_value();
}
template <class Use>
bool whole_cycle(Use& of) {
  if (!of.at.attach(of.buffer, of.dev)) {
    return false;
  }
  return map_pinned(of) && unmap_pinned(of) && of.at.detach().has_value();
}
bool map_movable(movable_use& of) {
  auto m = of.armed->map(*of.held, direction::to_device);
  if (!m) {
    return false;
  }
  of.m = std::move(*m);
  return true;
}
bool unmap_movable(movable_use& of) { return of.armed->unmap(*of.held, std::move(of.m)).has_value(); }

bool read_by_cpu(fenced_use& of) {
  auto opened = cpu_access<access::read>::begin(*of.buffer);
  return opened && opened->finish();
}

struct address_of_byte {
  mapping<plain_device> m;
  std::uint64_t offset{64};
  paddock::iova found{};
};
void ask_address(address_of_byte& of) { of.found = of.m.iova(of.offset); }

}  // namespace

TEST_CASE("attach, map, unmap and detach of a pinned buffer: two locks, one reference, no allocation") {
  const cost c = cost_of("attach, map, unmap, detach", [] {
    pinned_use use;
    must(whole_cycle(use));  // The first time makes what later ones use again.
    must(counted(whole_cycle<pinned_use>, use));
  });
  CHECK(c.events == events{.locked = 4});
}

TEST_CASE("a map that looks at fences takes no locked instruction for that, nor an allocation") {
  const cost c = cost_of("attach, map, unmap, detach, auto_fence", [] {
    fenced_use use;
    must(whole_cycle(use));
    must(counted(whole_cycle<fenced_use>, use));
  });
  CHECK(c.events == events{.locked = 4});
}

TEST_CASE("map and unmap of a pinned, coherent attachment that does not fence are loads and stores") {
  const cost mapping_cost = cost_of("map, pinned", [] {
    pinned_use use;
    must(use.at.attach(use.buffer, use.dev).has_value());
    must(map_pinned(use) && unmap_pinned(use));
    must(counted(map_pinned<pinned_use>, use));
  });
  CHECK(mapping_cost.events == events{});
  CHECK(mapping_cost.instructions <= 120);
  const cost unmapping_cost = cost_of("unmap, pinned", [] {
    pinned_use use;
    must(use.at.attach(use.buffer, use.dev).has_value());
    must(map_pinned(use));
    must(counted(unmap_pinned<pinned_use>, use));
  });
  CHECK(unmapping_cost.events == events{});
  CHECK(unmapping_cost.instructions <= 60);
}

TEST_CASE("map and unmap of a movable attachment under a held lock cost one reference") {
  const cost mapping_cost = cost_of("map, movable", [] {
    movable_use use;
    use.begin();
    must(map_movable(use) && unmap_movable(use));
    must(counted(map_movable, use));
  });
  CHECK(mapping_cost.events == events{.locked = 1});
  const cost unmapping_cost = cost_of("unmap, movable", [] {
    movable_use use;
    use.begin();
    must(map_movable(use));
    must(counted(unmap_movable, use));
  });
  CHECK(unmapping_cost.events == events{.locked = 1});
}

TEST_CASE("access by CPU costs a lock and its count, and no syscall") {
  const cost c = cost_of("cpu_access", [] {
    fenced_use use;
    must(read_by_cpu(use));
    must(counted(read_by_cpu, use));
  });
  CHECK(c.events == events{.locked = 3});
}

TEST_CASE("a device's address of a byte is an addition") {
  const cost c = cost_of("iova(offset)", [] {
    pinned_use use;
    must(use.at.attach(use.buffer, use.dev).has_value());
    must(map_pinned(use));
    address_of_byte of{std::move(use.m)};
    counted(ask_address, of);
    must(of.found == of.m.iova() + 64);
    of.m = {};
  });
  CHECK(c.events == events{});
  CHECK(c.instructions <= 4);  // Load, load, add, store.
}
