# SPDX-License-Identifier: BSL-1.0
# Installs BUILD and moves the result to PREFIX: a package that remembers where it was installed is found out.
file(REMOVE_RECURSE "${PREFIX}" "${PREFIX}-before-the-move")
execute_process(COMMAND "${CMAKE_COMMAND}" --install "${BUILD}" --prefix "${PREFIX}-before-the-move"
                COMMAND_ERROR_IS_FATAL ANY)
file(RENAME "${PREFIX}-before-the-move" "${PREFIX}")

file(GLOB_RECURSE files "${PREFIX}/*.cmake")
foreach(file IN LISTS files)
  file(READ "${file}" text)
  foreach(path IN ITEMS "${SOURCE}" "${BUILD}" "/usr/include" "/usr/lib")
    string(FIND "${text}" "${path}" found)
    if(NOT found EQUAL -1)
      message(SEND_ERROR "${file} names ${path}, a path of the machine that built it")
    endif()
  endforeach()
endforeach()
