#include "base/machine.h"

#include <sys/stat.h>

#include "base/digest.h"
#include "base/file.h"

namespace lathe {

std::string machine_id() {
  struct stat root {};
  ::stat("/", &root);
  const auto boot = read_file("/proc/sys/kernel/random/boot_id");
  return sha256_hex(boot.value_or("") + std::to_string(root.st_dev) + ":" + std::to_string(root.st_ino)).substr(0, 32);
}

}  // namespace lathe
