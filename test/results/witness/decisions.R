# Decides on an experiment of method "fixed" that has ended, and computes the documented block, from the figures that
# witness.R computes. It shares no code with the platform.

# Fieller's bounds of N / |D|; those of rates are at least -1.
uplift_bounds <- function(result, level, binary) {
  e <- as.list(result$effect)
  k <- qt((1 + level) / 2, e$df)
  g <- k^2 * e$vD / e$D^2
  if (g >= 1) return(c(NA, NA))
  u <- result$difference / e$D
  inside <- result$vN - 2 * u * e$c + u^2 * e$vD - g * (result$vN - e$c^2 / e$vD)
  bounds <- (u - g * e$c / e$vD + c(-1, 1) * k / abs(e$D) * sqrt(inside)) / (1 - g)
  if (e$D < 0) bounds <- -rev(bounds)
  if (binary) pmax(-1, bounds) else bounds
}

# The one-sided p-value that the treatment is worse by the margin or more. A rate with fewer than 10 expected events, or
# 100 users, in a variant is bounded exactly: what is rare does at most its own rate of harm. This needs an absolute margin.
worse_by_margin <- function(q, result) {
  if (!is.null(result$cells)) {
    k <- result$cells; w <- result$weights
    p <- sum(w * (k$xc + k$xt) / (k$nc + k$nt))
    few <- min(effective(k$nc, w), effective(k$nt, w)) * min(p, 1 - p) < 10 || min(sum(k$nc), sum(k$nt)) < 100
    if (few && q$margin_type == "relative") return(NA)
    if (few) {
      if (p > 1 / 2) { k$xc <- k$nc - k$xc; k$xt <- k$nt - k$xt }
      own <- if ((p <= 1 / 2) == (q$direction == "decrease")) list(x = k$xt, n = k$nt) else list(x = k$xc, n = k$nc)
      return(pbinom(sum(own$x), sum(own$n), as.numeric(q$margin) / max(w * sum(own$n) / own$n)))
    }
  }
  e <- as.list(result$effect)
  good <- if (q$direction == "increase") 1 else -1
  margin <- as.numeric(q$margin)
  # Relative: good (m_t - (1 - good r) m_c) = good (N + good r D).
  share <- if (q$margin_type == "relative") good * margin else 0
  distance <- good * (result$difference + share * e$D) + if (q$margin_type == "absolute") margin else 0
  pt(distance / sqrt(result$vN + 2 * share * e$c + share^2 * e$vD), e$df, lower.tail = FALSE)
}

# Gains: Holm over primary metrics x treatments. Harm: Holm over primary metrics and guardrails x treatments.
decide <- function(found) {
  case <- found[[1]]$q$case
  alpha <- 1 - as.numeric(found[[1]]$q$level)
  role <- sapply(found, function(f) f$q$role)
  key <- sapply(found, function(f) f$q$question)
  variant <- sapply(found, function(f) f$variant)
  p <- sapply(found, function(f) f$result$p_value)
  gain <- sapply(found, function(f) f$result$difference * if (f$q$direction == "increase") 1 else -1)
  family <- function(members, how) { adjusted <- rep(NA, length(p)); adjusted[members] <- p.adjust(p[members], how); adjusted }
  primary <- role == "primary"; guardrail <- role == "guardrail"; secondary <- role == "secondary"
  among_gains <- family(primary, "holm")
  among_harms <- family(primary | guardrail, "holm")
  better <- primary & gain > 0 & among_gains < alpha
  worse <- !secondary & gain < 0 & among_harms < alpha
  margin_p <- mapply(function(f, is) if (is) worse_by_margin(f$q, f$result) else NA, found, guardrail)
  passed <- guardrail & !is.na(margin_p) & margin_p < alpha
  excluded <- mapply(function(f, is) is && !is.na(f$result$uplift_lower) &&
    max(abs(f$result$uplift_lower), abs(f$result$uplift_upper)) < as.numeric(f$q$effect), found, primary)
  adjusted <- ifelse(primary, among_gains, family(secondary, "BH"))
  for (i in seq_along(found)) {
    if (!guardrail[i]) put(key[i], variant[i], "p_value_adjusted", adjusted[i])
    put(key[i], variant[i], "verdict", if (better[i]) "better" else if (worse[i]) "worse" else "undecided")
    if (guardrail[i]) put(key[i], variant[i], "margin_p_value", margin_p[i])
    if (guardrail[i]) put(key[i], variant[i], "guardrail", if (passed[i]) "passed" else if (worse[i]) "failed" else "inconclusive")
  }
  outcomes <- sapply(unique(variant), function(v) {
    own <- variant == v
    if (any(own & worse & !passed)) "stop"
    else if (any(own & better) && all(passed[own & guardrail])) "ship"
    else if (all(excluded[own & primary]) && !any(own & better)) "no_difference"
    else "inconclusive"
  })
  for (v in unique(variant)) put(case, v, "outcome", outcomes[[v]])
  # Of several variants to ship, the one with the largest uplift of the first primary metric.
  first <- which(primary & key == key[primary][1] & outcomes[variant] == "ship")
  best <- first[order(-vapply(found[first], function(f) f$result$uplift, 0))][1]
  put(case, "whole", "outcome", if (!is.na(best)) "ship" else intersect(c("inconclusive", "no_difference", "stop"), outcomes)[1])
  put(case, "whole", "shipped", if (is.na(best)) "none" else variant[best])
}

# The documented block: the rate of all users with Wilson's interval, in per cent; p-value, uplift and winner from the
# comparison within periods, at the significance threshold and without a correction.
document <- function(q, units, y) {
  level <- as.numeric(q$level)
  threshold <- as.numeric(q$threshold)
  treatments <- setdiff(strsplit(q$variants, " ")[[1]], q$control)
  shown <- list()
  for (v in c(q$control, treatments)) {
    here <- units$variant == v
    n <- sum(here)
    wilson <- suppressWarnings(prop.test(sum(y[here]), n, conf.level = level, correct = FALSE))$conf.int
    put(q$question, v, "documented_rate", 100 * sum(y[here]) / n)
    put(q$question, v, "documented_lower", 100 * wilson[1])
    put(q$question, v, "documented_upper", 100 * wilson[2])
    put(q$question, v, "documented_conversions", sum(y[here]))
    if (v == q$control) next
    result <- compare_means(units, y, 0 * y, v, q$control, level, FALSE, TRUE)
    put(q$question, v, "documented_p_value", result$p_value)
    put(q$question, v, "documented_uplift", 100 * result$uplift)
    if (result$p_value < threshold && result$uplift > 0) shown[[v]] <- result$uplift
  }
  put(q$question, "whole", "winner", if (length(shown) == 0) "none" else names(shown)[which.max(unlist(shown))])
}
