#include "app/metrics_page.hpp"

#include <prometheus/text_serializer.h>

namespace parlor {

metrics_page::family& metrics_page::add(std::string name, std::string help, type t) {
  families.push_back({std::move(name), std::move(help), t, {}});
  return families.back();
}

void metrics_page::add(family& f, double value, labels with) {
  prometheus::ClientMetric m;
  m.label = std::move(with);
  if (f.type == type::Counter)
    m.counter.value = value;
  else
    m.gauge.value = value;
  f.metric.push_back(std::move(m));
}

void metrics_page::add(family& f, const counter& value, labels with) {
  add(f, static_cast<double>(value.load(std::memory_order_relaxed)), std::move(with));
}

void metrics_page::add(family& f, const histogram& value, labels with) {
  prometheus::ClientMetric m;
  m.label = std::move(with);
  auto ends = value.bounds();
  std::uint64_t so_far = 0;
  for (std::size_t i = 0; i < ends.size(); ++i) {
    so_far += value.count(i);
    m.histogram.bucket.push_back({so_far, ends[i]});
  }
  // Of the same reading as the buckets, so that they always agree.
  m.histogram.sample_count = so_far + value.count(ends.size());
  m.histogram.sample_sum = value.sum();
  f.metric.push_back(std::move(m));
}

void metrics_page::counts(std::string name, std::string help, double value) {
  add(add(std::move(name), std::move(help), type::Counter), value);
}

void metrics_page::gauge(std::string name, std::string help, double value) {
  add(add(std::move(name), std::move(help), type::Gauge), value);
}

void metrics_page::histogram_of(std::string name, std::string help, const histogram& value) {
  add(add(std::move(name), std::move(help), type::Histogram), value);
}

std::string metrics_page::text() const { return prometheus::TextSerializer{}.Serialize(families); }

} // namespace parlor
