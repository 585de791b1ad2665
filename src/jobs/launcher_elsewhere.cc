#include "jobs/launcher.h"
#include "process/records.h"

namespace lathe::jobs {

Result<std::string> Launcher::spec_elsewhere(const Launch& launch, std::size_t node, const Meeting& meeting,
                                             const Elsewhere& where) const {
  const Site site{where.folder / "work", where.folder / "shared", where.folder / "shared/fetched", where.url, false};
  LATHE_TRY(const auto spec, spec_of(launch, node, meeting, {}, site));
  return process::print_spec(spec, {}, {}, {});
}

}  // namespace lathe::jobs
