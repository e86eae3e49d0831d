// SPDX-License-Identifier: BSL-1.0
/// \file
/// Which addresses of an IOMMU address space are free: inside what the kernel allows, outside what would hit a BAR.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include <boost/icl/interval_set.hpp>

#include <paddock/base/ids.hpp>
#include <paddock/base/result.hpp>

namespace PADDOCK_NAMESPACE::vfio {

/// Addresses, both ends included, as the kernel reports them.
struct iova_range {
  iova first;
  iova last;

  friend constexpr bool operator==(const iova_range&, const iova_range&) noexcept = default;
};

/// Bookkeeping only: no system call. What is free is kept, and not reckoned at each call: an allocation looks at the
/// gaps below the first one that is large enough, of which there are few unless mappings come and go in odd sizes.
/// Thread-safety: none; the address space locks around it.
class iova_allocator {
 public:
  /// Replaces what the kernel allows; a device that joins may shrink it. What is in use stays in use.
  void set_usable(const std::vector<iova_range>& ranges) {
    barred_ += everything();
    for (const iova_range& range : ranges) {
      barred_ -= interval(range.first.value(), range.last.value());
    }
    barred_ += excluded_;
    free_ += everything();
    free_ -= barred_;
    free_ -= used_;
  }

  /// Never hands out an address of this range from now on.
  void exclude(iova_range range) {
    const interval barred(range.first.value(), range.last.value());
    excluded_ += barred;
    barred_ += barred;
    free_ -= barred;
  }

  /// Finds room for `size` bytes at a multiple of `alignment`, all of it at or below `highest`.
  /// Address 0 is left out: too many devices take it for "none".
  /// Requires: alignment is a power of two. Errors: invalid_argument for size 0, limit_reached when nothing is free.
  [[nodiscard]] result<iova> allocate(std::uint64_t size, std::uint64_t alignment,
                                      iova highest = iova(std::numeric_limits<std::uint64_t>::max())) {
    if (size == 0) {
      return fail(errc::invalid_argument, "iova_allocator::allocate");
    }
    for (const interval& gap : free_) {
      const std::uint64_t lower = gap.lower() == 0 ? 1 : gap.lower();
      const std::uint64_t start = (lower + (alignment - 1)) & ~(alignment - 1);
      const std::uint64_t end = gap.upper() < highest.value() ? gap.upper() : highest.value();
      if (start >= lower && start <= end && size - 1 <= end - start) {
        take(interval(start, start + (size - 1)));
        return iova(start);
      }
    }
    return fail(errc::limit_reached, "no free IOVA range");
  }

  /// Takes exactly these addresses. Errors: invalid_argument (size 0, or the end wraps), already_exists (in use),
  /// out_of_range (the kernel does not allow it, or it is excluded).
  [[nodiscard]] result<void> reserve(iova at, std::uint64_t size) {
    if (size == 0 || size - 1 > std::numeric_limits<std::uint64_t>::max() - at.value()) {
      return fail(errc::invalid_argument, "iova_allocator::reserve");
    }
    const interval wanted(at.value(), at.value() + (size - 1));
    if (boost::icl::intersects(used_, wanted)) {
      return fail(errc::already_exists, "IOVA range");
    }
    if (!boost::icl::contains(free_, wanted)) {
      return fail(errc::out_of_range, "IOVA range");
    }
    take(wanted);
    return {};
  }

  /// Gives back what allocate() or reserve() gave.
  void release(iova at, std::uint64_t size) {
    const interval given(at.value(), at.value() + (size - 1));
    used_ -= given;
    free_ += given;
    // Since it was handed out, part of it may have been barred.
    for (auto [each, end] = barred_.equal_range(given); each != end; ++each) {
      free_ -= *each;
    }
  }

  [[nodiscard]] bool in_use(iova address) const { return boost::icl::contains(used_, address.value()); }

 private:
  using interval = boost::icl::closed_interval<std::uint64_t>;
  using interval_set = boost::icl::interval_set<std::uint64_t, std::less, interval>;

  [[nodiscard]] static interval everything() { return {0, std::numeric_limits<std::uint64_t>::max()}; }

  void take(const interval& range) {
    used_ += range;
    free_ -= range;
  }

  interval_set barred_{everything()};  ///< What the kernel does not allow, and what is excluded.
  interval_set excluded_;
  interval_set used_;
  interval_set free_;  ///< What is neither barred nor used.
};

}  // namespace PADDOCK_NAMESPACE::vfio
