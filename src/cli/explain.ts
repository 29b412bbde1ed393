import { ERROR_SECTIONS, RETRIES } from "../error-rows.ts";
import { defineCommand, UsageError } from "./command.ts";

export const explainCommand = defineCommand<object>({
  name: "explain",
  summary: "what an error code means, whether the host tries again, and what to do",
  configure: (command) => command.argument("<code>", "the code in brackets at the end of a message"),
  async action(_, { stdout }, [code = ""]) {
    const found = Object.values(ERROR_SECTIONS).flatMap((rows) => rows.filter((row) => row.code === code));
    if (found.length === 0)
      throw new UsageError(
        `there is no error code ${JSON.stringify(code)}; give the one in brackets at the end of a message, such as k8s_forbidden`,
      );
    for (const { meaning, retry, action } of found) {
      stdout.write(`${meaning}\n`);
      if (retry !== undefined) stdout.write(`Does the host try again: ${RETRIES[retry]}\n`);
      stdout.write(`What to do: ${action}\n`);
    }
    return 0;
  },
});
