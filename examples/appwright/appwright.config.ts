import { defineConfig, Platform } from "appwright";

// The agent says which device and which build: these variables are set for each of its runs.
const udid = process.env.QGJOB_UDID;
const build = process.env.QGJOB_BUILD_PATH ?? "build/app.apk";

export default defineConfig({
  projects: [
    {
      name: "android",
      use: {
        platform: Platform.ANDROID,
        device: { provider: "local-device", udid },
        buildPath: build,
        expectTimeout: 2_000,
      },
    },
  ],
});
