// SPDX-License-Identifier: BSL-1.0
// A policy is an empty type that names its axis.
// EXPECT: each policy is an empty type that names its axis
#include <paddock/buffer/attachment.hpp>
#include <paddock/buffer/memory_exporter.hpp>

#include "../../support/buffers.hpp"

using namespace paddock;
using namespace paddock::test;
using memory = dma_buf<memory_exporter>;
using placed = dma_buf<placing_test_exporter>;
using behind_bar = dma_buf<revoking_test_exporter>;

#ifdef PADDOCK_ALLOWED
struct mine {
  using axis = movable::axis;
  static constexpr bool may_move = true;
  static constexpr bool may_revoke = true;
};
attachment<memory, test_device, mine> made;
#else
struct mine {
  using axis = movable::axis;
  static constexpr bool may_move = true;
  static constexpr bool may_revoke = true;
  int bytes;
};
attachment<memory, test_device, mine> made;
#endif
