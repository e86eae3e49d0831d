// SPDX-License-Identifier: BSL-1.0
// Empty: only the command that would compile this file is used.
