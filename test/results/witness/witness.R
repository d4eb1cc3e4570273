# Computes an experiment's results from its exported events and assignments with base R. The script shares no code with the
# platform, so it is an independent implementation of the documented statistics.
# Input: a folder with events.csv and assignments.csv as exported, and questions.csv with one metric per line; the file with
# the rules of decisions. Questions with a role are decided on, case by case.
# Output: lines "question;variant;figure;value".
folder <- commandArgs(trailingOnly = TRUE)[1]
events <- read.csv(file.path(folder, "events.csv"), colClasses = "character", na.strings = "")
assignments <- read.csv(file.path(folder, "assignments.csv"), colClasses = "character", na.strings = "")
questions <- read.csv(file.path(folder, "questions.csv"), colClasses = "character", na.strings = "", quote = "'")

source(commandArgs(trailingOnly = TRUE)[2])

ms <- function(text) round(as.numeric(as.POSIXct(text, format = "%Y-%m-%dT%H:%M:%OSZ", tz = "UTC")) * 1000)
property <- function(json, name) {
  found <- regexpr(paste0("\"", name, "\":(\"[^\"]*\"|[^,}]*)"), json)
  text <- rep(NA_character_, length(json))
  text[!is.na(found) & found > 0] <- regmatches(json, found)
  sub(paste0("^\"", name, "\":"), "", text)
}
number <- function(text) suppressWarnings(as.numeric(text))
unquoted <- function(text) gsub("\"", "", text)

events$at <- ms(events$timestamp)
events$received <- ms(events$received_at)
events$amount <- number(property(events$properties, "amount"))
events$points <- number(property(events$properties, "points"))
events$ms <- number(property(events$properties, "ms"))
events$kind <- unquoted(property(events$properties, "kind"))
assignments$assigned <- ms(assignments$assigned_at)
assignments$exposed <- ms(assignments$exposed_at)
for (name in c("plan", "country_code")) assignments[[name]] <- unquoted(property(assignments$dimensions, name))
run_end <- ms(assignments$run_ended_at[1])
experiment <- questions$experiment[1]

HOUR <- 3600000
put <- function(question, variant, figure, value) cat(question, variant, figure, format(value, digits = 17), "\n", sep = ";")

# One row per exposed person: the first exposure, and the period and variant of the first assignment. A person with two
# variants is a crossover: left out, or (rule "first") counted under the variant first assigned.
people <- function(known, rule) {
  rows <- known[order(known$assigned, known$user_id), ]
  seen <- rows[!is.na(rows$exposed), ]
  first <- rows[!duplicated(rows$person_id), c("person_id", "period", "variant_id", "plan", "country_code")]
  exposed <- tapply(seen$exposed, seen$person_id, min)
  variants <- tapply(seen$variant_id, seen$person_id, function(v) length(unique(v)))
  first$exposed <- exposed[first$person_id]
  first$variant <- first$variant_id
  first[!is.na(first$exposed) & (rule == "first" | variants[first$person_id] == 1), ]
}

# Adds up a part of a metric per person, over the events in [from, until).
amounts <- function(units, recorded, type, filter, prop, count, any_tag, from, until) {
  chosen <- recorded[recorded$type == type & (any_tag | is.na(recorded$experiment_id) | recorded$experiment_id == experiment), ]
  if (!is.na(filter)) {
    parts <- strsplit(filter, "~")[[1]]
    chosen <- if (parts[2] == "ge") chosen[!is.na(chosen[[parts[1]]]) & chosen[[parts[1]]] >= as.numeric(parts[3]), ]
      else if (parts[2] == "eq") chosen[!is.na(chosen[[parts[1]]]) & chosen[[parts[1]]] == parts[3], ]
      else chosen[is.na(chosen[[parts[1]]]) | chosen[[parts[1]]] != parts[3], ]
  }
  index <- match(chosen$person_id, units$person_id)
  chosen <- chosen[!is.na(index), ]
  index <- index[!is.na(index)]
  inside <- chosen$at >= from[index] & chosen$at < until[index]
  chosen <- chosen[inside, ]
  index <- index[inside]
  value <- if (is.na(prop)) rep(1, nrow(chosen)) else if (count) as.numeric(!is.na(chosen[[prop]])) else ifelse(is.na(chosen[[prop]]), 0, chosen[[prop]])
  sums <- rep(0, nrow(units))
  added <- tapply(value, index, sum)
  sums[as.integer(names(added))] <- added
  sums
}

# The variance of a difference is at least the pooled one. Each part is a period: variance of the level, and users.
variance_of_difference <- function(control, treatment) {
  part <- function(parts, field) sapply(parts, function(p) p[[field]])
  vc <- part(control, "variance"); vt <- part(treatment, "variance"); nc <- part(control, "n"); nt <- part(treatment, "n")
  per_user <- ((nc - 1) * nc * vc + (nt - 1) * nt * vt) / (nc + nt - 2)
  max(sum(vc) + sum(vt), sum(per_user * (1 / nc + 1 / nt)))
}

comparison <- function(N, vN, D, vD, c, df, level) {
  t <- N / sqrt(vN)
  critical <- qt((1 + level) / 2, df)
  list(difference = N, vN = vN, standard_error = sqrt(vN), p_value = 2 * pt(-abs(t), df),
    lower = N - critical * sqrt(vN), upper = N + critical * sqrt(vN), uplift = N / abs(D), effect = c(D = D, vD = vD, c = c, df = df))
}

# Computes level and variance of a variant over strata, and the variant's term of the Welch-Satterthwaite degrees of freedom.
over_strata <- function(units, y, x, theta, variant, strata, weights) {
  parts <- lapply(strata, function(s) {
    here <- units$period == s & units$variant == variant
    n <- sum(here)
    w <- weights[[s]]
    joint <- if (theta == 0) 0 else cov(x[here], y[here])
    list(n = n, plain = w * mean(y[here]), level = w * (mean(y[here]) - theta * mean(x[here])),
      variance = w^2 / n * (var(y[here]) - 2 * theta * joint + theta^2 * (if (theta == 0) 0 else var(x[here]))),
      own = w^2 / n * var(y[here]), cov = w^2 / n * (var(y[here]) - theta * joint))
  })
  sum_of <- function(field) sum(sapply(parts, function(p) p[[field]]))
  list(parts = parts, plain = sum_of("plain"), level = sum_of("level"), variance = sum_of("variance"), own = sum_of("own"), cov = sum_of("cov"),
    df = sum(sapply(parts, function(p) p$variance^2 / (p$n - 1))))
}

# Compares rates that no covariate adjusts: by the score test, or exactly where an expected count is below 5.
compare_rates <- function(counts, weights, vN_welch, N, D, vD, level) {
  xc <- counts$xc; nc <- counts$nc; xt <- counts$xt; nt <- counts$nt
  p <- (xc + xt) / (nc + nt)
  score <- sum(weights^2 * p * (1 - p) * (1 / nc + 1 / nt))
  z <- N / sqrt(score)
  table <- array(rbind(xt, nt - xt, xc, nc - xc), dim = c(2, 2, length(xc)))
  exact <- if (length(xc) == 1) fisher.test(table[, , 1])$p.value else {
    expected <- sum(nt * p)
    if ((sum(xt) - expected) * N < 0) 1 else mantelhaen.test(table, exact = TRUE)$p.value
  }
  vN <- max(vN_welch, score)
  spread <- qnorm((1 + level) / 2) * sqrt(vN)
  list(difference = N, vN = vN, standard_error = sqrt(score), z = z, lower = max(-1, N - spread), upper = min(1, N + spread),
    p_value = if (is_small(counts, weights)) exact else 2 * pnorm(-abs(z)), uplift = N / abs(D), effect = c(D = D, vD = vD, c = -vD, df = Inf))
}

effective <- function(n, weights) 1 / sum(weights^2 / n)
is_small <- function(counts, weights) {
  p <- sum(weights * (counts$xc + counts$xt) / (counts$nc + counts$nt))
  min(effective(counts$nc, weights), effective(counts$nt, weights)) * min(p, 1 - p) < 5
}

# The score statistic of a difference of rates; the rates that fit best under this difference are searched for.
score_z <- function(c, d) {
  slope <- function(p) {
    part <- function(count, rate) if (count == 0) 0 else count / rate
    part(c$xt, p) - part(c$nt - c$xt, 1 - p) + part(c$xc, p - d) - part(c$nc - c$xc, 1 - p + d)
  }
  low <- max(0, d); high <- min(1, 1 + d)
  for (step in 1:100) { middle <- (low + high) / 2; if (slope(middle) > 0) low <- middle else high <- middle }
  p <- (low + high) / 2
  (c$xt / c$nt - c$xc / c$nc - d) / sqrt(p * (1 - p) / c$nt + (p - d) * (1 - p + d) / c$nc)
}

# The posterior of rates with fewer than 10 conversions, or users without one, in a variant.
beta_posterior <- function(counts, weights) {
  one <- function(x, n) {
    if (length(x) == 1) return(c(x, n))
    users <- round(effective(n, weights))
    c(min(users, round(sum(weights * x / n) * users)), users)
  }
  c0 <- one(counts$xc, counts$nc); t0 <- one(counts$xt, counts$nt)
  if (min(c0[1], c0[2] - c0[1], t0[1], t0[2] - t0[1]) >= 10) return(NULL)
  ends <- sort(unique(pmin(1, pmax(0, c(0, 1, sapply(list(c0, t0), function(k) {
    m <- (k[1] + 1) / (k[2] + 2)
    m + sqrt(m * (1 - m) / (k[2] + 3)) * c(-9, -5, -3, -1, 0, 1, 3, 5, 9, 20, 40)
  }))))))
  integral <- function(f) sum(sapply(seq_along(ends[-1]), function(i) integrate(f, ends[i], ends[i + 1], rel.tol = 1e-12, abs.tol = 1e-300, subdivisions = 2000L)$value))
  tail_of <- function(k, x, lower) pbeta(x, k[1] + 1, k[2] - k[1] + 1, lower.tail = lower)
  list(above = integral(function(x) dbeta(x, t0[1] + 1, t0[2] - t0[1] + 1) * tail_of(c0, x, TRUE)),
    loss = integral(function(x) tail_of(t0, x, TRUE) * tail_of(c0, x, FALSE)))
}

compare_means <- function(units, y, x, treatment, control, level, covariate, binary) {
  strata <- usable(units, treatment, control)
  counts <- sapply(strata, function(s) sum(units$period == s))
  weights <- as.list(counts / sum(counts))
  names(weights) <- strata
  count <- function(v, f) sapply(strata, function(s) f(y[units$period == s & units$variant == v]))
  cells <- if (binary) list(xc = count(control, sum), nc = count(control, length), xt = count(treatment, sum), nt = count(treatment, length))
  share <- unlist(weights)
  # A small sample is tested exactly, and has no covariate.
  theta <- if (covariate && !(binary && is_small(cells, share))) pooled_theta(units, y, x) else 0
  c0 <- over_strata(units, y, x, theta, control, strata, weights)
  t0 <- over_strata(units, y, x, theta, treatment, strata, weights)
  vN <- variance_of_difference(c0$parts, t0$parts)
  welch <- t0$variance + c0$variance
  if (binary && theta == 0) result <- compare_rates(cells, share, welch, t0$level - c0$level, c0$plain, c0$own, level)
  else result <- comparison(t0$level - c0$level, vN, c0$plain, c0$own, -c0$cov, welch^2 / (t0$df + c0$df), level)
  if (binary) {
    result$beta <- beta_posterior(cells, share)
    result$counts <- if (length(strata) == 1 && theta == 0) cells
    if (theta == 0) { result$cells <- cells; result$weights <- share }
  }
  if (theta != 0) {
    own <- function(side) lapply(side$parts, function(p) list(n = p$n, variance = p$own))
    plain <- if (binary) compare_rates(cells, share, t0$own + c0$own, 1, 1, 1, level)$vN else variance_of_difference(own(c0), own(t0))
    result$theta <- theta
    result$reduction <- 1 - vN / plain
  }
  result
}

usable <- function(units, treatment, control) {
  strata <- sort(unique(units$period))
  strata[sapply(strata, function(s) sum(units$period == s & units$variant == control) >= 2 && sum(units$period == s & units$variant == treatment) >= 2)]
}

pooled_theta <- function(units, y, x) {
  groups <- split(seq_len(nrow(units)), paste(units$period, units$variant))
  groups <- groups[sapply(groups, length) >= 2]
  joint <- sum(sapply(groups, function(g) (length(g) - 1) * cov(x[g], y[g])))
  own <- sum(sapply(groups, function(g) (length(g) - 1) * var(x[g])))
  if (own == 0) 0 else joint / own
}

# Compares ratios of sums by the delta method: with a covariate only in a run of one period, else over stratified sums.
compare_ratios <- function(units, m, d, mp, dp, treatment, control, level, covariate) {
  strata <- usable(units, treatment, control)
  if (covariate && length(unique(units$period)) == 1) {
    S <- function(v) cov(cbind(m, d, mp, dp)[units$variant == v, ])
    mu <- function(v) colMeans(cbind(m, d, mp, dp)[units$variant == v, ])
    post <- function(v) { u <- mu(v); c(1 / u[2], -u[1] / u[2]^2, 0, 0) }
    pre <- function(v) { u <- mu(v); c(0, 0, 1 / u[4], -u[3] / u[4]^2) }
    all <- unique(units$variant)
    n <- function(v) sum(units$variant == v)
    theta <- sum(sapply(all, function(v) (n(v) - 1) * drop(post(v) %*% S(v) %*% pre(v)))) /
      sum(sapply(all, function(v) (n(v) - 1) * drop(pre(v) %*% S(v) %*% pre(v))))
    gradient <- function(v) post(v) - theta * pre(v)
    variance <- function(v) drop(gradient(v) %*% S(v) %*% gradient(v)) / n(v)
    own <- function(v) drop(post(v) %*% S(v) %*% post(v)) / n(v)
    ratio <- function(v) { u <- mu(v); u[1] / u[2] - theta * (u[3] / u[4]) }
    welch <- variance(treatment) + variance(control)
    part <- function(v, f) list(list(n = n(v), variance = f(v)))
    vN <- variance_of_difference(part(control, variance), part(treatment, variance))
    df <- welch^2 / (variance(treatment)^2 / (n(treatment) - 1) + variance(control)^2 / (n(control) - 1))
    plain <- mu(control)
    result <- comparison(unname(ratio(treatment) - ratio(control)), vN, unname(plain[1] / plain[2]), own(control), -drop(post(control) %*% S(control) %*% gradient(control)) / n(control), df, level)
    result$theta <- theta
    result$reduction <- 1 - vN / variance_of_difference(part(control, own), part(treatment, own))
    return(result)
  }
  counts <- sapply(strata, function(s) sum(units$period == s))
  weights <- counts / sum(counts)
  side <- function(v) {
    sums <- sapply(seq_along(strata), function(i) {
      here <- units$period == strata[i] & units$variant == v
      c(weights[i] * mean(m[here]), weights[i] * mean(d[here]))
    })
    M <- sum(sums[1, ]); D <- sum(sums[2, ])
    parts <- sapply(seq_along(strata), function(i) {
      here <- units$period == strata[i] & units$variant == v
      c(var(m[here] - M / D * d[here]) * weights[i]^2 / D^2 / sum(here), sum(here))
    })
    list(level = M / D, parts = apply(parts, 2, function(p) list(variance = p[1], n = p[2])), variance = sum(parts[1, ]), df = sum(parts[1, ]^2 / (parts[2, ] - 1)))
  }
  c0 <- side(control); t0 <- side(treatment)
  welch <- t0$variance + c0$variance
  vN <- variance_of_difference(c0$parts, t0$parts)
  comparison(t0$level - c0$level, vN, c0$level, c0$variance, -c0$variance, welch^2 / (t0$df + c0$df), level)
}

# A quantile of events with users as clusters. Where ties make both order statistics equal, the band is doubled.
quantile_of <- function(chosen, p, z) {
  values <- sort(chosen$value)
  n <- length(values)
  at <- function(f) values[min(max(ceiling(n * f - 1e-9), 1), n)]
  spread <- z * sqrt(p * (1 - p) / n)
  if (n == 0 || p - spread <= 0 || p + spread >= 1) return(list(level = if (n == 0) NA else at(p), variance = NA, n = 0))
  wide <- 1
  while (at(p - wide * spread) == at(p + wide * spread) && p - 2 * wide * spread > 0 && p + 2 * wide * spread < 1) wide <- 2 * wide
  J <- tapply(chosen$value <= at(p), chosen$person_id, sum)
  K <- tapply(chosen$value, chosen$person_id, length)
  cluster <- var(J - sum(J) / sum(K) * K) / mean(K)^2 / length(K)
  se <- (at(p + wide * spread) - at(p - wide * spread)) / (2 * wide * z) * sqrt(cluster / (p * (1 - p) / n))
  list(level = at(p), variance = if (se > 0) se^2 else NA, n = length(K))
}

# Compares quantiles of periods, weighted by the users of the periods in which both quantiles have an error.
compare_quantiles <- function(units, recorded, treatment, control, p, level) {
  z <- qnorm((1 + level) / 2)
  one <- function(v, s) quantile_of(recorded[recorded$person_id %in% units$person_id[units$variant == v & units$period %in% s], ], p, z)
  strata <- sort(unique(units$period))
  c0 <- lapply(strata, function(s) one(control, s)); t0 <- lapply(strata, function(s) one(treatment, s))
  used <- !is.na(sapply(c0, function(k) k$variance)) & !is.na(sapply(t0, function(k) k$variance))
  users <- sapply(strata, function(s) sum(units$period == s))[used]
  side <- function(parts) Map(function(k, w) list(level = w * k$level, variance = w^2 * k$variance, n = k$n), parts[used], users / sum(users))
  sum_of <- function(parts, field) sum(sapply(parts, function(k) k[[field]]))
  c1 <- side(c0); t1 <- side(t0)
  vD <- sum_of(c1, "variance")
  result <- comparison(sum_of(t1, "level") - sum_of(c1, "level"), variance_of_difference(c1, t1), sum_of(c1, "level"), vD, -vD, Inf, level)
  result$level <- one(treatment, strata)$level
  result
}

sequence <- function(difference, se, n, level, tuning) {
  alpha <- 1 - level
  log2 <- -2 * log(alpha)
  a <- n * (log2 + log(1 + log2)) / tuning
  half <- se * sqrt(2 * (a + 1) / a * (log(1 + a) / 2 - log(alpha)))
  c(half, min(1, exp(-((a / (a + 1)) * (difference / se)^2 / 2 - log(1 + a) / 2))))
}

# Caps values at quantiles of those that the rule ranks. A limit of 0 is not applied.
capped <- function(v, cap, floor, of_all) {
  ranked <- sort(if (of_all) v else v[v != 0])
  n <- length(ranked)
  limit <- function(f) if (is.na(f) || n == 0) NA else ranked[min(max(ceiling(n * as.numeric(f) - 1e-9), 1), n)]
  top <- limit(cap); low <- limit(floor)
  change <- if (of_all) rep(TRUE, length(v)) else v != 0
  if (!is.na(top) && top != 0) v[change] <- pmin(v[change], top)
  if (!is.na(low) && low != 0) v[change] <- pmax(v[change], low)
  v
}

found <- list()
for (row in seq_len(nrow(questions))) {
  q <- questions[row, ]
  level <- as.numeric(q$level)
  as_of <- if (is.na(q$as_of)) Inf else ms(q$as_of)
  known <- assignments[assignments$assigned < as_of, ]
  known$exposed[!is.na(known$exposed) & known$exposed >= as_of] <- NA
  if (!is.na(q$from)) known$exposed[!is.na(known$exposed) & known$exposed < ms(q$from)] <- NA
  units <- people(known, if (is.na(q$crossovers)) "exclude" else q$crossovers)
  recorded <- events[events$received < as_of, ]
  if (!is.na(q$where)) {
    asked <- strsplit(q$where, "=")[[1]]
    units <- units[!is.na(units[[asked[1]]]) & units[[asked[1]]] == asked[2], ]
  }
  everybody <- units
  # The run has ended, so that metrics with a window count only users whose window is over.
  if (!is.na(q$until_hours)) units <- units[units$exposed + as.numeric(q$until_hours) * HOUR <= as_of, ]
  from <- units$exposed + as.numeric(q$from_hours) * HOUR
  until <- if (is.na(q$until_hours)) rep(run_end, nrow(units)) else units$exposed + as.numeric(q$until_hours) * HOUR
  before <- units$exposed - as.numeric(q$covariate_days) * 24 * HOUR
  sums <- function(type, filter, prop, count, from, until) amounts(units, recorded, type, filter, prop, count == "yes", q$any_tag == "yes", from, until)
  y <- sums(q$type, q$filter, q$property, q$count, from, until)
  x <- sums(q$type, q$filter, q$property, q$count, before, units$exposed)
  if (q$binary == "yes") { y <- pmin(y, 1); x <- pmin(x, 1) }
  y <- capped(y, q$cap, q$floor, identical(q$cap_of, "all"))
  x <- capped(x, q$cap, q$floor, identical(q$cap_of, "all"))
  covariate <- as.numeric(q$covariate_days) > 0
  control <- q$control
  treatments <- setdiff(strsplit(q$variants, " ")[[1]], control)
  for (v in c(control, treatments)) {
    put(q$question, v, "users", sum(units$variant == v))
    put(q$question, v, "immature", sum(everybody$variant == v) - sum(units$variant == v))
  }
  for (v in treatments) {
    if (q$kind == "quantile") {
      chosen <- recorded[recorded$type == q$type & (is.na(recorded$experiment_id) | recorded$experiment_id == experiment) & !is.na(recorded[[q$property]]), ]
      index <- match(chosen$person_id, units$person_id)
      chosen <- chosen[!is.na(index), ]; index <- index[!is.na(index)]
      chosen <- chosen[chosen$at >= from[index] & chosen$at < until[index], ]
      chosen$value <- chosen[[q$property]]
      result <- compare_quantiles(units, chosen, v, control, as.numeric(q$quantile), level)
    } else if (q$kind == "ratio") {
      d <- sums(q$den_type, q$den_filter, q$den_property, q$den_count, from, until)
      dp <- sums(q$den_type, q$den_filter, q$den_property, q$den_count, before, units$exposed)
      result <- compare_ratios(units, y, d, x, dp, v, control, level, covariate)
      here <- units$variant == v
      result$level <- sum(y[here]) / sum(d[here])
    } else {
      result <- compare_means(units, y, x, v, control, level, covariate, q$binary == "yes")
      result$level <- mean(y[units$variant == v])
    }
    n <- sum(units$variant %in% c(v, control))
    error <- sqrt(result$vN)
    valid <- sequence(result$difference, if (is.null(result$counts)) error else result$standard_error, n, level, as.numeric(q$tuning))
    result$always_valid_p <- valid[2]
    result$always_valid_lower <- if (is.null(result$counts)) result$difference - valid[1] else {
      low <- -1; high <- result$difference
      for (step in 1:100) {
        middle <- (low + high) / 2
        if (score_z(result$counts, middle) > valid[1] / result$standard_error) low <- middle else high <- middle
      }
      low
    }
    ratio <- result$difference / error
    result$probability_above <- if (is.null(result$beta)) pnorm(ratio) else result$beta$above
    result$loss <- if (is.null(result$beta)) error * (dnorm(ratio) - ratio * pnorm(-ratio)) else result$beta$loss
    bounds <- uplift_bounds(result, level, q$binary == "yes")
    result$uplift_lower <- bounds[1]
    result$uplift_upper <- bounds[2]
    for (figure in setdiff(names(result), c("vN", "z", "beta", "counts", "effect", "cells", "weights"))) put(q$question, v, figure, result[[figure]])
    if (!is.na(q$role)) found[[length(found) + 1]] <- list(q = q, variant = v, result = result)
  }
  if (!is.na(q$threshold)) document(q, units, y)
}
for (case in unique(sapply(found, function(f) f$q$case))) decide(Filter(function(f) f$q$case == case, found))
