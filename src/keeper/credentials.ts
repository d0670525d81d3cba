import { DiskError } from '../host/disk.ts'
import { MarkError } from '../mark/mark.ts'
import { type Credentials, readCredentials } from '../node/https.ts'

/** Without its certificates a keeper cannot be reached. @throws MarkError EKEEPER */
export async function credentialsIn(files: Parameters<typeof readCredentials>[0]): Promise<Credentials> {
  try {
    return await readCredentials(files)
  } catch (error) {
    if (!(error instanceof DiskError)) throw error
    throw new MarkError('EKEEPER', `the keeper is not asked: ${error.message}`, { cause: error })
  }
}
