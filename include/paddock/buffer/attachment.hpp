// SPDX-License-Identifier: BSL-1.0
/// \file
/// `attachment`: that a device uses a buffer, and by which policies. Kernel: struct dma_buf_attachment.
#pragma once

#include <type_traits>

#include <paddock/buffer/attachment_rules.hpp>
#include <paddock/buffer/basic_attachment.hpp>
#include <paddock/policy/selection.hpp>

namespace PADDOCK_NAMESPACE {

/// The attachment of a device to a buffer by these policies, in any order, at most one an axis: all orders are one
/// type.
template <class Buffer, class Device, class... Policies>
using attachment =
    basic_attachment<Buffer, Device, detail::selection<detail::attachment_defaults<Buffer, Device>, Policies...>>;

namespace detail {
template <class T>
inline constexpr bool is_attachment = false;
template <class B, class D, class P>
inline constexpr bool is_attachment<basic_attachment<B, D, P>> = true;
}  // namespace detail

/// Any attachment: what functions take.
template <class T>
concept attachment_like = detail::is_attachment<std::remove_cvref_t<T>>;

}  // namespace PADDOCK_NAMESPACE
