#pragma once
// A page of metrics while it is made. Owner and thread: whoever makes it.

#include "protocol/histogram.hpp"

#include <prometheus/metric_family.h>

#include <string>
#include <utility>
#include <vector>

namespace parlor {

struct metrics_page {
  using family = prometheus::MetricFamily;
  using type = prometheus::MetricType;
  using labels = std::vector<prometheus::ClientMetric::Label>;

  std::vector<family> families;

  family& add(std::string name, std::string help, type t);
  static void add(family& f, double value, labels with = {});
  static void add(family& f, const counter& value, labels with = {});
  static void add(family& f, const histogram& value, labels with = {});
  void counts(std::string name, std::string help, double value);
  void gauge(std::string name, std::string help, double value);
  void histogram_of(std::string name, std::string help, const histogram& value);
  std::string text() const;
};

void add_process(metrics_page& p);

} // namespace parlor
