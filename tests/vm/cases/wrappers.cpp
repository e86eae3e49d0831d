// SPDX-License-Identifier: BSL-1.0
// What a wrapper adds to its ioctl: no system call but where it says so, no lock and no allocation but for what it
// makes, and few instructions. Counted one by one, on the pairs of which bench/kernel/ioctls.cpp counts the kernel's
// instructions as well.
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstddef>
#include <iostream>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <type_traits>
#include <vector>

#include "catch.hpp"
#include "pairs_drm.hpp"
#include "pairs_kernel.hpp"
#include "pairs_vfio.hpp"
#include "stepper.hpp"

namespace paddock::test {

namespace {

/// A pair, and room for what its calls return, so that none of that is moved or destroyed where it is counted.
template <class Pair>
struct stage {  // NOLINT(cppcoreguidelines-pro-type-member-init): room, in which the outcome is made.
  template <class Outcome>
  struct kept {
    alignas(Outcome) std::byte room[sizeof(Outcome)];
  };
  Pair both;
  kept<decltype(both.wrapped())> wrapped;
  kept<decltype(both.raw())> raw;
};

template <class Outcome>
void judge_and_drop(std::byte* room) {
  using bench::pairs::must_succeed;
  auto* const made = std::launder(reinterpret_cast<Outcome*>(room));
  must_succeed(*made);
  std::destroy_at(made);
}

template <class Pair>
cost wrapped_cost(const std::string& name) {
  return cost_of(name.c_str(), [] {
    using outcome = decltype(std::declval<Pair&>().wrapped());
    stage<Pair> on;
    on.both.prepare();
    counted([](stage<Pair>& s) { new (s.wrapped.room) outcome(s.both.wrapped()); }, on);
    judge_and_drop<outcome>(on.wrapped.room);
  });
}
template <class Pair>
cost raw_cost(const std::string& name) {
  return cost_of((name + ", raw").c_str(), [] {
    using outcome = decltype(std::declval<Pair&>().raw());
    stage<Pair> on;
    on.both.prepare();
    counted([](stage<Pair>& s) { new (s.raw.room) outcome(s.both.raw()); }, on);
    judge_and_drop<outcome>(on.raw.room);
  });
}

/// Asked in another process: what is opened here would be the parent's in the processes that are counted.
template <class Pair>
bool is_lacking() {
  const pid_t child = ::fork();
  if (child == 0) {
    std::_Exit(Pair::lacking() == nullptr ? 0 : 1);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  return status != 0;
}

/// What a wrapper may add.
struct allowance {
  std::uint64_t instructions{45};  ///< A dozen of them in libdrm.
  std::size_t syscalls{0};
  std::uint64_t locked{0};
  std::uint64_t allocations{0};
  std::uint64_t frees{0};
};

/// Those that do more than their ioctl: bench/targets.py says what.
const std::map<std::string, allowance> with_more{
    {"DMA_BUF_IOCTL_SYNC, a probe", {.instructions = 500}},
    {"SYNC_IOC_MERGE", {.instructions = 50}},
    {"DMA_HEAP_IOCTL_ALLOC, 4 KiB", {.instructions = 280, .syscalls = 1}},
    {"DMA_HEAP_IOCTL_ALLOC, 1 MiB", {.instructions = 280, .syscalls = 1}},
    {"UDMABUF_CREATE, 4 KiB", {.instructions = 330, .syscalls = 2}},
    {"UDMABUF_CREATE, 1 MiB", {.instructions = 330, .syscalls = 2}},
    {"DRM_IOCTL_SYNCOBJ_CREATE", {.instructions = 150, .locked = 2, .allocations = 1}},
    {"DRM_IOCTL_SYNCOBJ_DESTROY", {.instructions = 240, .locked = 2, .frees = 1}},
    {"DRM_IOCTL_SYNCOBJ_WAIT", {.instructions = 100}},
    {"DRM_IOCTL_SYNCOBJ_TIMELINE_WAIT", {.instructions = 100}},
    {"DRM_IOCTL_SYNCOBJ_FD_TO_HANDLE", {.instructions = 180, .locked = 2, .allocations = 1}},
    {"DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD, a point's sync_file", {.instructions = 50}},
    {"DRM_IOCTL_PRIME_FD_TO_HANDLE", {.instructions = 340, .locked = 3, .allocations = 1}},
    {"DRM_IOCTL_PRIME_HANDLE_TO_FD", {.instructions = 190, .syscalls = 1}},
    {"DRM_IOCTL_GEM_CLOSE", {.instructions = 420, .locked = 3, .frees = 1}},
    {"DRM_IOCTL_MODE_CREATE_DUMB", {.instructions = 560, .locked = 3, .allocations = 1}},
    {"DRM_IOCTL_MODE_MAP_DUMB and mmap", {.instructions = 120}},
    {"VFIO_IOMMU_MAP_DMA, 4 KiB", {.instructions = 60}},
    {"VFIO_IOMMU_UNMAP_DMA, 4 KiB", {.instructions = 70}},
    {"VFIO_IOMMU_MAP_DMA, 4 KiB, by an ioas", {.instructions = 1800, .locked = 8, .allocations = 5, .frees = 1}},
    {"VFIO_IOMMU_MAP_DMA, 2 MiB, by an ioas", {.instructions = 1800, .locked = 8, .allocations = 5, .frees = 1}},
    {"pread of config space", {.locked = 2}},
    {"VFIO_DEVICE_GET_IRQ_INFO", {.locked = 2}},
    {"VFIO_DEVICE_FEATURE, a dma-buf", {.locked = 2}},
    {"VFIO_DEVICE_SET_IRQS", {.locked = 2}},
    {"IOMMU_IOAS_MAP, 4 KiB", {.instructions = 60}},
    {"IOMMU_IOAS_MAP_FILE, 4 KiB", {.instructions = 110}},
    {"IOMMU_IOAS_UNMAP, 4 KiB", {.instructions = 80}},
};

struct check_pair {
  template <class Pair>
  void operator()(std::type_identity<Pair>, const std::string& name) const {
    if (is_lacking<Pair>()) {
      std::cout << name << ": not here\n";
      return;
    }
    const auto found = with_more.find(name);
    const allowance allowed = found == with_more.end() ? allowance{} : found->second;
    const cost mine = wrapped_cost<Pair>(name);
    const cost raw = raw_cost<Pair>(name);
    CAPTURE(name);
    CHECK(mine.instructions <= raw.instructions + allowed.instructions);
    CHECK(mine.events.syscalls.size() == raw.events.syscalls.size() + allowed.syscalls);
    CHECK(mine.events.locked <= allowed.locked);
    CHECK(mine.events.fences == 0);
    CHECK(mine.events.allocations <= allowed.allocations);
    CHECK(mine.events.frees <= allowed.frees);
  }
};

}  // namespace

TEST_CASE("wrappers: those of dma-bufs, heaps and sync_files are their ioctls") {
  bench::pairs::each_kernel_pair(check_pair{});
}
TEST_CASE("wrappers: those of syncobjs and GEM handles are their ioctls") { bench::pairs::each_drm_pair(check_pair{}); }
TEST_CASE("wrappers: those of VFIO and iommufd are their ioctls") { bench::pairs::each_vfio_pair(check_pair{}); }

}  // namespace paddock::test
