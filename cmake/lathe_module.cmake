# lathe_module(NAME SRCS a.cc b.cc DEPS base json LIBS fmt::fmt TESTS a_test.cc)
#
# One folder of src/ as a static library. DEPS are the Lathe modules that it may include: nothing else is on its link
# line, so a forbidden arrow does not link. LIBS are third-party targets. TESTS become the program NAME_test;
# POSTGRES: it needs a PostgreSQL server, too.
function(lathe_module name)
  cmake_parse_arguments(ARG "POSTGRES" "" "SRCS;DEPS;LIBS;TESTS" ${ARGN})
  add_library(lathe_${name} STATIC ${ARG_SRCS})
  target_include_directories(lathe_${name} PUBLIC ${CMAKE_SOURCE_DIR}/src)
  list(TRANSFORM ARG_DEPS PREPEND lathe_)
  target_link_libraries(lathe_${name} PUBLIC ${ARG_DEPS} ${ARG_LIBS})
  if(LATHE_TESTS AND ARG_TESTS)
    add_executable(${name}_test ${ARG_TESTS})
    target_link_libraries(${name}_test PRIVATE lathe_${name} GTest::gtest GTest::gtest_main)
    if(ARG_POSTGRES)
      add_test(NAME ${name} COMMAND ${CMAKE_SOURCE_DIR}/tests/postgres.sh with $<TARGET_FILE:${name}_test>)
    else()
      add_test(NAME ${name} COMMAND ${name}_test)
    endif()
  endif()
endfunction()
