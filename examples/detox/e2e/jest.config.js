module.exports = {
  rootDir: "..",
  testMatch: ["<rootDir>/e2e/**/*.test.js"],
  testTimeout: 120000,
  maxWorkers: 1,
  globalSetup: "detox/runners/jest/globalSetup",
  globalTeardown: "detox/runners/jest/globalTeardown",
  testEnvironment: "detox/runners/jest/testEnvironment",
  reporters: [
    "detox/runners/jest/reporter",
    ["jest-junit", { outputDirectory: process.env.QGJOB_OUTPUT_DIR, outputName: "report.xml" }],
  ],
};
