# Everything that Lathe links. All of it comes from Debian 12; packaging/packages.sh names the packages.
find_package(Threads REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(SQLite3 REQUIRED)
find_package(PostgreSQL REQUIRED)  # libpq
find_package(CURL REQUIRED)
find_package(LibArchive REQUIRED)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(yaml-cpp REQUIRED)
find_package(CLI11 REQUIRED)
find_package(tl-expected REQUIRED)
find_package(simdjson REQUIRED)
find_package(pugixml REQUIRED)
find_package(Protobuf REQUIRED)
find_package(ZLIB REQUIRED)

# Boost 1.81's headers cannot be installed beside Debian's scipy (which pulls in 1.74's), so they are unpacked from
# the Debian package below build/ (see docs/decisions/boost-headers.md).
set(LATHE_BOOST ${CMAKE_SOURCE_DIR}/build/boost-1.81 CACHE PATH "Folder with Boost 1.81's headers")
if(NOT EXISTS ${LATHE_BOOST}/boost/version.hpp)
  execute_process(COMMAND ${CMAKE_SOURCE_DIR}/packaging/boost-headers.sh ${LATHE_BOOST} COMMAND_ERROR_IS_FATAL ANY)
endif()
add_library(lathe_boost INTERFACE)
target_include_directories(lathe_boost SYSTEM INTERFACE ${LATHE_BOOST})
target_compile_definitions(lathe_boost INTERFACE
  BOOST_ASIO_SEPARATE_COMPILATION BOOST_BEAST_SEPARATE_COMPILATION BOOST_ASIO_NO_DEPRECATED
  BOOST_ASIO_DISABLE_CONCEPTS)

if(LATHE_TESTS)
  find_package(GTest REQUIRED)
endif()
