# Computes statistics with base R, so that the platform's figures can be compared with another implementation's.
# The input has lines "method;vector;vector;…", where a vector is numbers with commas between them. The output has a line
# of numbers for each input line.
answers <- list(
  z = function(x, n) prop.test(x, n, correct = FALSE)$p.value,
  wilson = function(x, n, level) prop.test(x, n, correct = FALSE, conf.level = level)$conf.int,
  newcombe = function(x, n, level) {
    rate <- x / n
    limits <- sapply(1:2, function(i) prop.test(x[i], n[i], correct = FALSE, conf.level = level)$conf.int)
    difference <- rate[2] - rate[1]
    c(difference - sqrt((rate[2] - limits[1, 2])^2 + (limits[2, 1] - rate[1])^2),
      difference + sqrt((limits[2, 2] - rate[2])^2 + (rate[1] - limits[1, 1])^2))
  },
  fisher = function(x, n) {
    table <- rbind(rev(x), rev(n - x))
    c(fisher.test(table)$p.value,
      fisher.test(table, alternative = "greater")$p.value,
      fisher.test(table, alternative = "less")$p.value)
  },
  welch = function(control, treatment, level) {
    test <- t.test(treatment, control, conf.level = level)
    c(test$statistic, test$parameter, test$p.value, test$conf.int)
  },
  chisquare = function(counts, shares) {
    test <- chisq.test(counts, p = shares / sum(shares))
    c(test$statistic, test$p.value)
  },
  bonferroni = function(p) p.adjust(p, "bonferroni"),
  holm = function(p) p.adjust(p, "holm"),
  hochberg = function(p) p.adjust(p, "BH"),
  powerproportions = function(n, rates, level)
    power.prop.test(n = n, p1 = rates[1], p2 = rates[2], sig.level = 1 - level, strict = TRUE)$power,
  sizeproportions = function(rates, level, power)
    power.prop.test(p1 = rates[1], p2 = rates[2], sig.level = 1 - level, power = power, tol = 1e-10)$n,
  powermeans = function(n, difference, sd, level)
    power.t.test(n = n, delta = difference, sd = sd, sig.level = 1 - level, strict = TRUE)$power,
  student = function(t, df) pt(t, df, lower.tail = FALSE),
  beta = function(x, shape) pbeta(x, shape[1], shape[2])
)
for (line in readLines(file("stdin"))) {
  parts <- strsplit(line, ";", fixed = TRUE)[[1]]
  vectors <- lapply(strsplit(parts[-1], ",", fixed = TRUE), as.numeric)
  cat(format(suppressWarnings(do.call(answers[[parts[1]]], vectors)), digits = 17), "\n")
}
