// SPDX-License-Identifier: BSL-1.0
/// \file
/// Everything that needs no backend: base, policy, fence, buffer. Backends (kernel/, drm/, vfio/) are included by name.
#pragma once

#include <paddock/base/errno_table.hpp>
#include <paddock/base/error.hpp>
#include <paddock/base/fd.hpp>
#include <paddock/base/ids.hpp>
#include <paddock/base/lost_error.hpp>
#include <paddock/base/mmio.hpp>
#include <paddock/base/result.hpp>
#include <paddock/base/time.hpp>
#include <paddock/buffer/cpu_access.hpp>
#include <paddock/buffer/segment.hpp>
#include <paddock/fence/array.hpp>
#include <paddock/fence/await.hpp>
#include <paddock/fence/callback.hpp>
#include <paddock/fence/chain.hpp>
#include <paddock/fence/context.hpp>
#include <paddock/fence/describe.hpp>
#include <paddock/fence/eventfd.hpp>
#include <paddock/fence/fence.hpp>
#include <paddock/fence/merge.hpp>
#include <paddock/fence/outcome.hpp>
#include <paddock/fence/stub.hpp>
#include <paddock/fence/timeline.hpp>
#include <paddock/fence/timestamp.hpp>
#include <paddock/fence/tracked.hpp>
#include <paddock/fence/user_fence.hpp>
#include <paddock/fence/wait.hpp>
#include <paddock/fwd.hpp>
#include <paddock/policy/wait.hpp>
#include <paddock/version.hpp>
