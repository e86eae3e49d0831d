#!/bin/sh
# SPDX-License-Identifier: BSL-1.0
# The camera example, with the kernel's test camera.
exec ../../../examples/08_camera
