// SPDX-License-Identifier: BSL-1.0
/// \file
/// Which heaps this machine has, what is known of each, and which of them meet a requirement, with every "no"
/// explained.
#pragma once

#include <dirent.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <paddock/base/result.hpp>
#include <paddock/kernel/dma_heap.hpp>
#include <paddock/kernel/probe_answer.hpp>

namespace PADDOCK_NAMESPACE::kernel {

/// A heap, as far as its name tells: the kernel tells nothing else, so that most answers for a board's own are unknown.
struct dma_heap_description {
  std::string name;
  answer contiguous{answer::unknown};  ///< One range of physical memory.
  answer cpu_access{answer::unknown};  ///< The CPU may map it; no for protected memory.
  std::optional<error> refused;        ///< Why this process cannot open it, if so.
};

/// What a heap has to be able to. Unset means: does not matter.
struct dma_heap_requirements {
  bool contiguous{false};
  bool cpu_access{false};
  bool accept_unknown{false};  ///< Take a heap of which it is not known, after those of which it is.
};

/// A heap with the verdict on it.
struct dma_heap_candidate {
  dma_heap_description heap;
  std::optional<error> rejected;  ///< Nothing when it will do; the errno is kept when opening failed.
};

/// What a heap's name says. Kernel: Documentation/userspace-api/dma-buf-heaps.rst.
[[nodiscard]] inline dma_heap_description describe_dma_heap(std::string_view name) {
  dma_heap_description heap{std::string(name), answer::unknown, answer::unknown, std::nullopt};
  const bool is_protected = name.starts_with("protected") || name.find("secure") != std::string_view::npos;
  // "linux,cma" and "reserved" are what default_cma_region was called before 6.17, after the device tree's node.
  const bool is_cma = name.find("cma") != std::string_view::npos || name == "reserved";
  if (name == "system" || name == "system_cc_shared") {
    heap.contiguous = answer::no;
    heap.cpu_access = answer::yes;
  } else if (is_protected) {
    heap.cpu_access = answer::no;
  } else if (is_cma) {
    heap.contiguous = answer::yes;
    heap.cpu_access = answer::yes;
  }
  return heap;
}

/// All heaps, by name, each tried for whether this process may open it.
/// Errors: unsupported_by_kernel (no such directory), permission. Kernel: readdir(/dev/dma_heap).
[[nodiscard]] inline result<std::vector<dma_heap_description>> list_dma_heaps(
    const char* directory = dma_heap_directory) {
  struct closer {
    void operator()(DIR* open) const noexcept { ::closedir(open); }
  };
  const std::unique_ptr<DIR, closer> entries(::opendir(directory));
  if (entries == nullptr) {
    return fail_errno("opendir(/dev/dma_heap)");
  }
  std::vector<dma_heap_description> heaps;
  for (;;) {
    errno = 0;
    const dirent* const entry = ::readdir(entries.get());
    if (entry == nullptr) {
      break;
    }
    if (std::string_view(entry->d_name) != "." && std::string_view(entry->d_name) != "..") {
      heaps.push_back(describe_dma_heap(entry->d_name));
    }
  }
  if (errno != 0) {
    return fail_errno("readdir(/dev/dma_heap)");
  }
  for (dma_heap_description& heap : heaps) {
    if (const auto opened = dma_heap::open(heap.name, directory); !opened) {
      heap.refused = opened.error();
    }
  }
  std::sort(heaps.begin(), heaps.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  return heaps;
}

/// The verdict on each heap: those that will do first, surely before perhaps, otherwise in the given order.
/// Nothing is opened or tried here, and no heap is chosen for the caller.
[[nodiscard]] inline std::vector<dma_heap_candidate> rank_dma_heaps(std::span<const dma_heap_description> heaps,
                                                                    const dma_heap_requirements& wanted) {
  const auto worst_of = [&](const dma_heap_description& heap) {
    const answer contiguous = wanted.contiguous ? heap.contiguous : answer::yes;
    const answer cpu = wanted.cpu_access ? heap.cpu_access : answer::yes;
    return contiguous == answer::no || cpu == answer::no             ? answer::no
           : contiguous == answer::unknown || cpu == answer::unknown ? answer::unknown
                                                                     : answer::yes;
  };
  std::vector<dma_heap_candidate> verdicts;
  for (const dma_heap_description& heap : heaps) {
    dma_heap_candidate candidate{heap, heap.refused};
    if (!candidate.rejected && wanted.contiguous && heap.contiguous == answer::no) {
      candidate.rejected = error{errc::unsupported_by_device, 0, "dma-heap is not contiguous"};
    } else if (!candidate.rejected && wanted.cpu_access && heap.cpu_access == answer::no) {
      candidate.rejected = error{errc::not_mappable, 0, "dma-heap is protected from the CPU"};
    } else if (!candidate.rejected && worst_of(heap) == answer::unknown && !wanted.accept_unknown) {
      candidate.rejected = error{errc::unsupported_by_device, 0, "dma-heap's name does not tell"};
    }
    verdicts.push_back(std::move(candidate));
  }
  // Three passes keep the order within a rank. std::stable_sort does too, but libstdc++ 12's uses what newer compilers
  // call deprecated.
  const auto rank = [&](const dma_heap_candidate& c) {
    return c.rejected ? 2 : worst_of(c.heap) == answer::yes ? 0 : 1;
  };
  std::vector<dma_heap_candidate> ranked;
  for (const int wanted_rank : {0, 1, 2}) {
    for (const dma_heap_candidate& candidate : verdicts) {
      if (rank(candidate) == wanted_rank) {
        ranked.push_back(candidate);
      }
    }
  }
  return ranked;
}

}  // namespace PADDOCK_NAMESPACE::kernel
