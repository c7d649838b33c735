#pragma once
// The pipelines' files: <pipelines.path>/*.toml, and the schemas and prompts that they name beside
// them. Used by the main thread before anything else starts.

#include "app/settings.hpp"

#include <string_view>
#include <vector>

namespace parlor {

inline constexpr std::string_view default_pipelines_path = "pipelines";

/// All pipelines of the directory, in the order of their files' names. None if the directory is the
/// default one and is not there. Throws config_error, with file and line, for whatever could go
/// wrong later: an unknown key or model, a schema that is not supported, a place in a prompt for a
/// field that cannot be there.
std::vector<pipeline_ptr> load_pipelines(const settings& s);

} // namespace parlor
