#pragma once

#include <string_view>

/// Tags on the run of a job that makes a registered model again (rebuild/rebuilds.h). Such a job registers nothing:
/// what it would have registered is noted.
namespace lathe::tracking {

constexpr std::string_view kRebuilds = "lathe.rebuilds";  ///< NAME:VERSION
constexpr std::string_view kRebuilt = "lathe.rebuilt";    ///< where the new model's files are: mlflow-artifacts:/...

}  // namespace lathe::tracking
