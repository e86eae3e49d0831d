# SPDX-License-Identifier: BSL-1.0
# Configures, builds and runs PROJECT in BUILD with the arguments after "--". With EXPECT_FAILURE, configuring must fail
# and say what this regular expression says.
set(arguments "")
set(begun FALSE)
math(EXPR last "${CMAKE_ARGC} - 1")
foreach(index RANGE ${last})
  if(begun)
    list(APPEND arguments "${CMAKE_ARGV${index}}")
  elseif("${CMAKE_ARGV${index}}" STREQUAL "--")
    set(begun TRUE)
  endif()
endforeach()

file(REMOVE_RECURSE "${BUILD}")
execute_process(COMMAND "${CMAKE_COMMAND}" -S "${PROJECT}" -B "${BUILD}" ${arguments}
                RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE output)
message("${output}")
if(EXPECT_FAILURE)
  # CMake breaks its messages into lines.
  string(REGEX REPLACE "[ \n]+" " " output "${output}")
  if(status EQUAL 0 OR NOT output MATCHES "${EXPECT_FAILURE}")
    message(FATAL_ERROR "this was to fail with: ${EXPECT_FAILURE}")
  endif()
  return()
endif()
if(NOT status EQUAL 0)
  message(FATAL_ERROR "the consumer does not configure")
endif()
execute_process(COMMAND "${CMAKE_COMMAND}" --build "${BUILD}" COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND "${BUILD}/consumer" COMMAND_ERROR_IS_FATAL ANY)
