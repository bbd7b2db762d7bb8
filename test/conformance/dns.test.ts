import { overDatagrams, overStreams } from './dns-fixture.ts';
import { conformance } from './suite.ts';

conformance(overStreams);
conformance(overDatagrams);
