import { postgresFixture } from './postgres-fixture.ts';
import { conformance } from './suite.ts';

conformance(postgresFixture);
