// SPDX-License-Identifier: BSL-1.0
/// \file
/// The kernel's kind of list: a ring of two links a node, with the head as one of them.
#pragma once

#include <utility>

namespace paddock::bench {

struct list_node {
  list_node* next{this};
  list_node* previous{this};

  list_node() = default;
  list_node(const list_node&) = delete;
  list_node& operator=(const list_node&) = delete;

  [[nodiscard]] bool alone() const noexcept { return next == this; }
  void insert_before(list_node& other) noexcept {
    next = &other;
    previous = std::exchange(other.previous, this);
    previous->next = this;
  }
  void unlink() noexcept {
    previous->next = next;
    next->previous = previous;
    next = previous = this;
  }
};

}  // namespace paddock::bench
