// SPDX-License-Identifier: BSL-1.0
/// \file
/// An IOMMU address space over a recording kernel, and a device whose one BAR is a memfd: real ones are in the VM lane,
/// but none of them can be told to fail on demand.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>

#include <paddock/vfio/bar.hpp>
#include <paddock/vfio/device_state.hpp>
#include <paddock/vfio/ioas.hpp>

namespace paddock::test {

struct recording_space final : vfio::detail::address_space {
  struct entry {
    void* memory;
    std::uint64_t size;
    direction dir;
  };
  std::atomic<int> mapped{0};
  std::atomic<int> maps{0};
  errc refuse_map{};
  int maps_before_refusal{0};
  errc refuse_unmap{};

  result<void> map_pages(void* memory, iova at, std::uint64_t size, direction dir) noexcept override {
    if (refuse_map != errc{} && maps_before_refusal-- <= 0) {
      return fail(refuse_map, "map");
    }
    ++maps;
    ++mapped;
    const std::lock_guard guard(entries_mutex_);
    entries_[at] = {memory, size, dir};
    return {};
  }
  result<void> unmap_pages(iova at, std::uint64_t size) noexcept override {
    const std::lock_guard guard(entries_mutex_);
    std::uint64_t found = 0;
    for (auto each = entries_.lower_bound(at); each != entries_.end() && each->first - at < size;) {
      found += each->second.size;
      each = entries_.erase(each);
      --mapped;
    }
    if (refuse_unmap != errc{}) {
      return fail(refuse_unmap, "unmap");
    }
    return found == size ? result<void>() : fail(errc::unexpected, "unmap: not all of the range was mapped");
  }
  result<std::uint32_t> available() noexcept override { return 0U; }
  result<unique_fd> open_device(const pci::address&) override { return fail(errc::not_found, "open_device"); }
  result<std::vector<std::int32_t>> proofs_for_hot_reset(std::span<const std::uint32_t>) override {
    return fail(errc::busy, "proofs_for_hot_reset");
  }

  /// What the IOMMU would find at an address; an entry of null where nothing begins.
  [[nodiscard]] entry at(iova start) {
    const std::lock_guard guard(entries_mutex_);
    const auto found = entries_.find(start);
    return found == entries_.end() ? entry{} : found->second;
  }

 private:
  std::mutex entries_mutex_;
  std::map<iova, entry> entries_;
};

struct test_space : vfio::ioas {
  explicit test_space(const std::shared_ptr<recording_space>& made) : ioas(made), kernel(*made) {
    kernel.allocator.set_usable({{iova(0), iova(0xffffffff)}});
  }
  test_space() : test_space(std::make_shared<recording_space>()) {}
  recording_space& kernel;
};

/// The first six of its BAR's eight pages are mapped.
struct fake_device {
  unique_fd file = unique_fd::adopt(::memfd_create("bar", MFD_CLOEXEC));
  std::shared_ptr<vfio::detail::device_state> state;
  std::shared_ptr<vfio::detail::bar_window> window;

  explicit fake_device(pci::address where = {0, 1, 0, 0}) : state(std::make_shared<vfio::detail::device_state>(where)) {
    vfio::region info;
    info.size = std::size_t{8} * 4096;
    info.readable = true;
    info.writable = true;
    info.areas = {{0, std::uint64_t{6} * 4096}};
    if (::ftruncate(file.get(), static_cast<off_t>(info.size)) != 0) {
      std::abort();
    }
    auto made = vfio::detail::bar_window::create(file, info);
    if (!made) {
      std::abort();
    }
    window = *made;
  }
  [[nodiscard]] vfio::bar bar() const { return {bar_index(0), state, window}; }
  [[nodiscard]] vfio::bar_slice slice(std::uint64_t offset, std::uint64_t length) const {
    return {state->address, bar_index(0), offset, length, window, state->listeners};
  }

  // As device_state does it, without a kernel.
  void reset() const {
    const auto nobody_maps = state->listeners->lock();
    state->listeners->revoke(vfio::revoke_reason::reset);
  }
  void memory_off() const {
    const auto nobody_maps = state->listeners->lock();
    state->listeners->revoke(vfio::revoke_reason::memory_disabled);
    must(window->poison());
  }
  void memory_on() const {
    const auto nobody_maps = state->listeners->lock();
    must(window->restore(file));
  }
  void close() const {
    const auto nobody_maps = state->listeners->lock();
    state->listeners->close();
    state->listeners->revoke(vfio::revoke_reason::closed);
    must(window->poison());
  }

 private:
  static void must(const result<void>& done) {
    if (!done) {
      std::abort();
    }
  }
};

/// Who imports buffers into such a space, and reaches everything: vfio::device without a kernel.
struct test_importer {
  using mapped = vfio::dma_mapping;
  using cache = coherent;
  static constexpr bool unmaps_on_revoke = true;

  explicit test_importer(test_space& in) noexcept : space(in) {}
  result<mapped> map(const storage_ptr& what, direction dir) { return space.map(what, {.dir = dir}); }
  result<void> unmap(mapped& gone) noexcept { return gone.retire(); }
  [[nodiscard]] route_choice reach(const segment&, direction) const noexcept { return {true, fallback::none, nullptr}; }

  test_space& space;
};

}  // namespace paddock::test
