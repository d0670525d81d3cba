/** Mode `letter` of the channel, as pure steps (docs/spec/letter.md): what session/ and the tests use. */
export { type Letter, parseLetter, type Sealed, saltBytes } from './frames.ts'
export {
  answerHello,
  beginLetters,
  type ClientHello,
  proofDigest,
  readAnswer,
  readProof,
  type ServerHello,
} from './handshake.ts'
export { type LetterBounds, letterLimits } from './limits.ts'
export {
  decodeClientHello,
  decodeServerHello,
  decodeSession,
  encodeClientHello,
  encodeServerHello,
  encodeSession,
} from './record.ts'
export {
  enterEpoch,
  type LetterState,
  markHead,
  markNumber,
  moveOn,
  needsEpoch,
  openTrial,
  type Pen,
  promisedBy,
  seal,
  sealClose,
  secretsIn,
  type Trial,
  tryLetter,
} from './session.ts'
