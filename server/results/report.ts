import type { EntityManager } from '@mikro-orm/sql'
import { markdownReport } from '../analysis/report.ts'
import { csvReport } from '../analysis/report-csv.ts'
import type { GetReport, ReportFormat } from './question-schema.ts'
import type { Results } from './schema.ts'
import { getResults, type Reporting } from './service.ts'

/** Writes an answer as a text that a person pastes into a document or opens in a spreadsheet. */

/** The content type of each format, and the function that writes an answer in it. */
export const REPORT_FORMATS: Record<ReportFormat, { contentType: string; write: (answer: Results) => string }> = {
  markdown: { contentType: 'text/markdown; charset=utf-8', write: markdownReport },
  csv: { contentType: 'text/csv; charset=utf-8', write: csvReport },
}

/** Answers a question about results as a text. @throws DomainError as `getResults` does */
export async function getReport(em: EntityManager, reporting: Reporting, input: GetReport): Promise<string> {
  const { format, ...question } = input
  return REPORT_FORMATS[format].write(await getResults(em, reporting, question))
}
