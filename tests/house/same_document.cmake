# SPDX-License-Identifier: BSL-1.0
# Fails when DOCUMENT is not what PROGRAM prints.
execute_process(COMMAND "${PROGRAM}" OUTPUT_VARIABLE printed COMMAND_ERROR_IS_FATAL ANY)
file(READ "${DOCUMENT}" written)
if(NOT printed STREQUAL written)
  message(FATAL_ERROR "${DOCUMENT} is out of date. Write it anew: ${PROGRAM} > ${DOCUMENT}")
endif()
