// SPDX-License-Identifier: BSL-1.0
/// \file
/// Hands out pages of memory that it never touches.
#pragma once

#include <cstdint>
#include <functional>

#include <boost/icl/interval_set.hpp>
#include <boost/icl/right_open_interval.hpp>

#include <paddock/base/result.hpp>

namespace PADDOCK_NAMESPACE::pci {

/// The free pages as one of Boost.ICL's interval sets, from which the first gap that is long enough is taken: a
/// device's memory is no place for an allocator's own links. Pages are numbered from 0; what it needs grows with the
/// number of gaps, not with that of the pages. Thread-safety: none.
class page_allocator {
 public:
  /// For `pages` pages. Errors: invalid_argument for none.
  [[nodiscard]] static result<page_allocator> create(std::uint64_t pages) {
    if (pages == 0) {
      return fail(errc::invalid_argument, "page_allocator: no pages");
    }
    return page_allocator(pages);
  }

  [[nodiscard]] std::uint64_t available() const noexcept { return available_; }

  /// The first of `count` pages in a row. Errors: invalid_argument for none; limit_reached when no gap is that long.
  [[nodiscard]] result<std::uint64_t> allocate(std::uint64_t count) {
    if (count == 0) {
      return fail(errc::invalid_argument, "page_allocator: no pages");
    }
    for (const run& gap : free_) {
      if (gap.upper() - gap.lower() >= count) {
        const std::uint64_t first = gap.lower();
        free_ -= run(first, first + count);
        available_ -= count;
        return first;
      }
    }
    return fail(errc::limit_reached, "page_allocator: no gap that is long enough");
  }

  /// Requires: `first` and `count` are those of one allocate().
  void release(std::uint64_t first, std::uint64_t count) {
    free_ += run(first, first + count);
    available_ += count;
  }

 private:
  using run = boost::icl::right_open_interval<std::uint64_t>;

  explicit page_allocator(std::uint64_t pages) : available_(pages) { free_ += run(0, pages); }

  boost::icl::interval_set<std::uint64_t, std::less, run> free_;
  std::uint64_t available_;
};

}  // namespace PADDOCK_NAMESPACE::pci
