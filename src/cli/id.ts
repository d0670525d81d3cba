import { readIdentity } from '../session/own-identity.ts'
import { identityText } from '../signature/identity.ts'
import type { Run } from './command.ts'
import { openHomeToRead } from './home.ts'
import { answer, answerJson } from './output.ts'

export const id: Run = async given => {
  const home = await openHomeToRead(given)
  const identity = await readIdentity(home)
  await home.close()
  const text = identityText(identity.id)
  if (given.json) await answerJson({ identity: text, records: identity.number })
  else await answer(text)
  return 'done'
}
